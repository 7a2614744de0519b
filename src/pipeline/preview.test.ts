/** @file The map from latents to colours: least squares, and previews among the events of a run. */
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { temporaryFolder } from "../../test/helpers/command-line.ts";
import { hashInput } from "../../test/helpers/hash-fill.ts";
import { recorded } from "../../test/helpers/tiny-checkpoint.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import { loadPipeline } from "./pipeline.ts";
import { fitLatentRgb, framesThrough, type PreviewEvent, withPreviews } from "./preview.ts";
import { fitPreview, previewMap } from "./preview-fit.ts";
import { textToVideo } from "./text-to-video.ts";

const tensor = (shape: number[], data: Float32Array): HostTensor => ({ dtype: "f32", shape, data });

test("finds the map that made the colours, and how much of them it explains", () => {
  const latents = tensor([2, 4, 5, 6], hashInput([2, 4, 5, 6], 1));
  const weights = [
    [0.1, 0.2, -0.3, 0],
    [0, 0.4, 0, 0.1],
    [-0.2, 0, 0.2, 0.3],
  ];
  const bias = [0.1, -0.2, 0];
  const exact = new Float32Array(2 * 3 * 30);
  for (let f = 0; f < 2; f++)
    for (let c = 0; c < 3; c++)
      for (let i = 0; i < 30; i++)
        exact[(f * 3 + c) * 30 + i] = weights[c].reduce(
          (sum, w, k) => sum + w * (latents.data as Float32Array)[(f * 4 + k) * 30 + i],
          bias[c],
        );
  const map = fitLatentRgb(latents, tensor([2, 3, 5, 6], exact));
  expect(map.weights.flat()).toBeCloseToArray(weights.flat(), { atol: 1e-5 });
  expect(map.bias).toBeCloseToArray(bias, { atol: 1e-5 });
  expect(map.r2).toBeCloseTo(1, 8);
  expect(map.samples).toBe(60);
  const noise = hashInput([2, 3, 5, 6], 2, 1);
  const { r2 } = fitLatentRgb(latents, tensor([2, 3, 5, 6], noise));
  expect(r2).toBeGreaterThanOrEqual(0);
  expect(r2).toBeLessThan(0.3);
});

test("colours are in 0 to 1, and channels that never change do no harm", () => {
  const map = { weights: [[1], [-1], [0]], bias: [0, 0, 0], r2: 1, samples: 1 };
  const frames = framesThrough(map, tensor([1, 1, 1, 2], Float32Array.of(0.5, 5)));
  expect(frames).toEqual(tensor([1, 1, 2, 3], Float32Array.of(0.75, 0.25, 0.5, 1, 0, 0.5)));
  const still = fitLatentRgb(
    tensor([1, 1, 1, 2], Float32Array.of(0, 0)),
    tensor([1, 3, 1, 2], new Float32Array(6)),
  );
  expect(still.weights.flat().every(Number.isFinite)).toBe(true);
});

test.each(["t2v-sincos", "t2v-patch-t"])(
  "every step of %s has a preview of the clip's frames",
  async (name) => {
    const pipeline = await loadPipeline(recorded(name));
    try {
      const map = await fitPreview(pipeline);
      console.log(`${name}: R2 ${map.r2.toFixed(3)} on ${map.samples} places`);
      expect(map.weights.map((row) => row.length)).toEqual([8, 8, 8]);
      expect(map.r2).toBeGreaterThan(0);
      const size = { width: 64, height: 48, frames: 9 };
      const events = textToVideo(pipeline, { prompt: "A circle.", steps: 2, latentsOnly: true, ...size });
      const previews: PreviewEvent[] = [];
      for await (const event of withPreviews(events, map)) if (event.kind === "preview") previews.push(event);
      expect(previews.map(({ step }) => step)).toEqual([1, 2]);
      expect(previews[0].frames.shape).toEqual([3, 6, 8, 3]);
    } finally {
      await pipeline.close();
    }
  },
);

test("a map that cannot be kept leaves nothing behind", async () => {
  const cache = temporaryFolder();
  vi.stubEnv("COGVIDEOX_CACHE", cache);
  onTestFinished(() => void vi.unstubAllEnvs());
  const pipeline = await loadPipeline(recorded("t2v-rope"));
  onTestFinished(() => pipeline.close());
  await previewMap(pipeline);
  const [name, ...others] = readdirSync(cache);
  expect(others).toEqual([]);
  rmSync(join(cache, name));
  mkdirSync(join(cache, name)); // a folder of that name can be neither read nor replaced
  await expect(previewMap(pipeline)).rejects.toThrow(/EISDIR|ENOTEMPTY|EEXIST/);
  expect(readdirSync(cache)).toEqual([name]);
});
