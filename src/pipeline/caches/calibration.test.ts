/** @file What calibration measures on a model is what its predictions say. */
import { expect, test } from "vitest";
import { recorded } from "../../../test/helpers/tiny-checkpoint.ts";
import { createRng, drawNormals } from "../../diffusion/noise.ts";
import type { HostTensor } from "../../runtime/protocol.ts";
import { loadPipeline } from "../pipeline.ts";
import { CachedDenoiser } from "./cached-denoiser.ts";
import type { Measured } from "./calibration.ts";

test("changes are those from prediction to prediction, of the conditioning those from timestep to timestep", async () => {
  const pipeline = await loadPipeline(recorded("t2v-rope"));
  const { config, weights } = pipeline.checkpoint.transformer;
  const timesteps = [999, 600, 100];
  const size = { frames: 3, height: 6, width: 8 };
  const denoiser = new CachedDenoiser(pipeline.engine, config, weights, {
    ...{ ...size, batch: 1, textLength: config.maxTextLength },
    run: { cache: { kind: "calibration" }, timesteps, isGuidedPair: false },
  });
  const rng = createRng(1);
  const normals = (...shape: number[]): HostTensor => {
    const data = drawNormals(
      rng,
      shape.reduce((product, side) => product * side),
    );
    return { dtype: "f32", shape, data };
  };
  const latents = normals(1, size.frames, config.inChannels, size.height, size.width);
  const text = normals(1, config.maxTextLength, config.textDim);
  const predictions: number[][] = [];
  for (const [step, timestep] of timesteps.entries()) {
    const { data } = await denoiser.predict({ latents, text, timestep: [timestep], step });
    predictions.push([...(data as Float32Array)]);
  }
  const { ratios, changes, conditioningChanges } = denoiser.memory as Measured;
  await denoiser.close();
  await pipeline.close();
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + Math.abs(value), 0);
  const moved = (i: number) => sum(predictions[i].map((value, k) => value - predictions[i - 1][k]));
  expect(changes).toBeCloseToArray(
    [0, 1, 2].map((i) => (i === 0 ? 0 : moved(i) / sum(predictions[i - 1]))),
    { rtol: 1e-6 },
  );
  expect(changes[2]).toBeGreaterThan(0);
  expect(ratios).toHaveLength(3);
  expect(conditioningChanges[0]).toBe(0);
  expect(conditioningChanges[1]).toBeGreaterThan(0.01);
});
