/** @file The VAE's loss over whole clips, run and differentiated by the engine. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runModel } from "../../../test/helpers/central-differences.ts";
import { hashInput, hashWeights } from "../../../test/helpers/hash-fill.ts";
import { numbers } from "../../../test/helpers/host-tensor.ts";
import { gradients, unreached } from "../../autodiff/grad.ts";
import { concat } from "../../graph/functions.ts";
import { toOnnx } from "../../graph/onnx.ts";
import { simplify } from "../../graph/rewrite.ts";
import { sizeOf } from "../../graph/shape.ts";
import { input, type Tensor } from "../../graph/tensor.ts";
import type { VaeConfig } from "../../models/vae/config.ts";
import { parseVaeConfig } from "../../models/vae/config.ts";
import { Scope } from "../../nn/scope.ts";
import { Engine } from "../../runtime/engine.ts";
import type { HostTensor } from "../../runtime/protocol.ts";
import { latentShape } from "./codec.ts";
import { klDivergence, vaeLoss } from "./loss.ts";

const json = {
  block_out_channels: [4, 4, 8, 8],
  latent_channels: 2,
  layers_per_block: 1,
  norm_num_groups: 2,
};
const config = parseVaeConfig(json, "config.json");
/** Half the sides and half the frames, so that differences are quick. */
const twoLevels = parseVaeConfig(
  { ...json, block_out_channels: [4, 8], temporal_compression_ratio: 2 },
  "config.json",
);

let engine: Engine;
beforeAll(() => {
  engine = new Engine({ threads: 1 });
});
afterAll(() => engine.close());

describe.each([1, 17])("a clip of %i frames", (frames) => {
  const shape = [frames, 3, 16, 16];

  test("gives the terms that its own reconstruction and moments have", async () => {
    const { p, built, feeds } = traced(shape);
    const { parts, loss, reconstruction, moments } = built;
    const outputs = { loss, l1: parts.l1, kl: parts.kl, l2: parts.l2!, x: reconstruction, ...moments };
    const found = await runModel(engine, toOnnx(outputs), { ...weightsOf(p), ...feeds });
    const clip = hashInput(shape, 1, 2);
    const errors = found.x.map((value, i) => clip[i] - value);
    expect(found.x).toHaveLength(clip.length);
    expect(found.mean).toHaveLength(latentShape(shape, config).reduce((n, size) => n * size, 1));
    expect(found.l1[0]).toBeCloseTo(average(errors.map(Math.abs)), 5);
    expect(found.l2[0]).toBeCloseTo(average(errors.map((e) => e * e)), 5);
    const kl = found.mean.map((m, i) => {
      const v = found.logVariance[i];
      return (m * m + Math.exp(v) - 1 - v) / 2;
    });
    expect(found.kl[0] / kl.length).toBeCloseTo(average(kl), 4);
    expect(found.loss[0]).toBeCloseTo(found.l1[0] + 0.5 * found.l2[0] + 1e-3 * found.kl[0], 4);
  });

  test("reaches every parameter that it uses", () => {
    const { p, built } = traced(shape);
    expect(unreached(built.loss, p.declared)).toEqual([]);
  });
});

test("has the gradient that differences along a direction show", async () => {
  const shape = [5, 3, 4, 4];
  const { p, built, feeds } = traced(shape, twoLevels);
  const keys = ["encoder.conv_in.conv.weight", "encoder.conv_out.conv.bias", "decoder.conv_in.conv.weight"];
  const weights = weightsOf(p);
  const found = gradients(
    built.loss,
    keys.map((key) => p.declared.get(key)!),
  );
  const model = toOnnx({ loss: built.loss, ...Object.fromEntries(keys.map((key, i) => [key, found[i]])) });
  const session = await engine.load("loss under test", model);
  const evaluate = async (moved: Readonly<Record<string, HostTensor>>) => {
    const outputs = await engine.run(session, { ...weights, ...feeds, ...moved });
    const entries = Object.entries(outputs).map(async ([name, y]) => [
      name,
      numbers(await engine.download(y)),
    ]);
    return Object.fromEntries(await Promise.all(entries)) as Record<string, number[]>;
  };
  const result = await evaluate({});
  for (const key of keys) {
    const direction = hashInput(weights[key].shape, 7, 2);
    const slope = direction.reduce((sum, d, i) => sum + d * result[key][i], 0);
    const at = async (step: number) => {
      const data = (weights[key].data as Float32Array).map((value, i) => value + step * direction[i]);
      return (await evaluate({ [key]: { ...weights[key], data } })).loss[0];
    };
    const step = 2e-3;
    const difference = ((await at(step)) - (await at(-step))) / (2 * step);
    expect(Math.abs(difference - slope)).toBeLessThan(0.02 * Math.abs(slope) + 1e-4);
  }
  await engine.unload(session);
});

test("is zero divergence for the standard normal, and half a nat per value for mean 1", async () => {
  const moments = { mean: input("mean", [1, 1, 1, 2]), logVariance: input("logVariance", [1, 1, 1, 2]) };
  const model = toOnnx({ kl: klDivergence(moments) });
  const feed = (values: readonly number[]): HostTensor => ({
    dtype: "f32",
    shape: [1, 1, 1, 2],
    data: Float32Array.from(values),
  });
  const kl = async (mean: number[], logVariance: number[]) =>
    (await runModel(engine, model, { mean: feed(mean), logVariance: feed(logVariance) })).kl[0];
  expect(await kl([0, 0], [0, 0])).toBe(0);
  expect(await kl([1, 1], [0, 0])).toBeCloseTo(1, 6);
  expect(await kl([0, 0], [Math.log(4), 0])).toBeCloseTo((4 - 1 - Math.log(4)) / 2, 6);
});

test("refuses frames that are not 8k + 1, odd sides and noise of another shape", () => {
  const p = new Scope();
  const build = (shape: number[], noise: number[]) => () =>
    vaeLoss(p, { clip: input("clip", shape), noise: input("noise", noise) }, config);
  expect(build([16, 3, 16, 16], [4, 2, 2, 2])).toThrow(/must be \[8k \+ 1, 3, H, W\]/);
  expect(build([5, 3, 16, 16], [2, 2, 2, 2])).toThrow(/as many frames come back/);
  expect(build([1, 3, 20, 16], [1, 2, 2, 2])).toThrow(/multiples of 8/);
  expect(build([9, 3, 16, 16], [1, 2, 2, 2])).toThrow(/noise .* must be \[3, 2, 2, 2\]/);
});

function traced(shape: readonly number[], of: VaeConfig = config) {
  const p = new Scope();
  const latents = latentShape(shape, of);
  const sample = { clip: input("clip", shape), noise: input("noise", latents) };
  const built = vaeLoss(p, sample, of, { l2: 0.5, kl: 1e-3 });
  const feeds = {
    clip: { dtype: "f32", shape, data: hashInput(shape, 1, 2) },
    noise: { dtype: "f32", shape: latents, data: hashInput(latents, 2) },
  } as const;
  return { p, built, feeds };
}

function weightsOf({ declared }: { declared: ReadonlyMap<string, Tensor> }): Record<string, HostTensor> {
  const shapes = Object.fromEntries([...declared].map(([key, { shape }]) => [key, shape]));
  const entries = [...hashWeights(shapes)].map(
    ([key, data]) => [key, { dtype: "f32", shape: shapes[key], data } as const] as const,
  );
  return Object.fromEntries(entries);
}

function average(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

test.each([1, 9, 17])(
  "gives clips of %d frames in one graph the mean of what they give one by one",
  async (frames) => {
    const [batch, side] = [2, 4];
    const p = new Scope();
    const shapes = [[frames, 3, side, side], latentShape([frames, 3, side, side], twoLevels)];
    const [clips, noises] = shapes.map((shape, kind) =>
      Array.from({ length: batch }, (_, i) => input(`${kind} of ${i}`, shape)),
    );
    const together = {
      clip: interleave(clips),
      noise: interleave(noises),
      batch,
    };
    const weights = { kl: 1e-3, l2: 1, perceptual: 0 };
    const alone = clips.map((clip, i) => vaeLoss(p, { clip, noise: noises[i] }, twoLevels, weights).loss);
    const outputs = {
      together: vaeLoss(p, together, twoLevels, weights).loss,
      alone: alone.reduce((sum, each) => sum.add(each)).mul(1 / batch),
    };
    // Graphs of two chunks load slowly; their gradient is that of the same operators.
    const params = frames < 17 ? [...p.declared.values()] : [];
    const slopes = Object.entries(outputs).flatMap(([name, loss]) =>
      gradients(simplify({ loss }).loss, params).map((slope, i) => [`${name} ${i}`, slope] as const),
    );
    const feeds = [...clips, ...noises].map((each, i) => {
      const { name } = each.attrs as { name: string };
      return [name, { dtype: "f32", shape: each.shape, data: hashInput(each.shape, 1 + i, 1) }] as const;
    });
    const found = await runModel(engine, toOnnx(simplify({ ...outputs, ...Object.fromEntries(slopes) })), {
      ...weightsOf(p),
      ...Object.fromEntries(feeds),
    });
    expect(found.together[0]).toBeCloseTo(found.alone[0], 5);
    for (const [i, { shape }] of params.entries()) {
      const largest = Math.max(...found[`alone ${i}`].map(Math.abs));
      for (let at = 0; at < sizeOf(shape); at++)
        expect(Math.abs(found[`together ${i}`][at] - found[`alone ${i}`][at])).toBeLessThan(
          1e-4 * largest + 1e-6,
        );
    }
  },
);

/** Clips `[T, ...]` as one tensor `[T · B, ...]`, first frames first. */
function interleave(clips: readonly Tensor[]): Tensor {
  const [frames, ...size] = clips[0].shape;
  return concat(
    clips.map((clip) => clip.reshape([frames, 1, ...size])),
    1,
  ).reshape([frames * clips.length, ...size]);
}
