/** @file The loss against the reference's prediction, against the host's arithmetic, and as a weighted error of x0. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { relativeError, runModel } from "../../../test/helpers/central-differences.ts";
import { hashInput, hashWeights } from "../../../test/helpers/hash-fill.ts";
import { f32, hashed, numbers } from "../../../test/helpers/host-tensor.ts";
import { toyTransformer } from "../../../test/helpers/toy-transformer.ts";
import { gradients } from "../../autodiff/grad.ts";
import { addNoise, velocity } from "../../diffusion/noise.ts";
import { alphaBarAt, noiseSchedule, parseSchedulerConfig } from "../../diffusion/schedule.ts";
import { ShapeError } from "../../errors.ts";
import { pad } from "../../graph/functions.ts";
import { toOnnx } from "../../graph/onnx.ts";
import { input, type Tensor } from "../../graph/tensor.ts";
import { parseT5Config } from "../../models/t5/config.ts";
import { t5Encode } from "../../models/t5/encoder.ts";
import { parseTransformerConfig } from "../../models/transformer/config.ts";
import { positionsFor } from "../../models/transformer/positions/positions.ts";
import { timestepFeatures } from "../../models/transformer/timestep.ts";
import { Scope } from "../../nn/scope.ts";
import { Engine } from "../../runtime/engine.ts";
import type { HostTensor } from "../../runtime/protocol.ts";
import { diffusionLoss, noisyLatents, predictVelocity, velocityTarget } from "./loss.ts";

const golden = JSON.parse(readFileSync("test/fixtures/golden/transformer.json", "utf8"));
const schedule = noiseSchedule(
  parseSchedulerConfig(
    { _class_name: "CogVideoXDDIMScheduler", rescale_betas_zero_snr: true, snr_shift_scale: 1 },
    "scheduler_config.json",
  ),
);
const timesteps = [999, 500];
const base = toyTransformer;
const rotary = { ...base, use_rotary_positional_embeddings: true };
const ofs = { ...rotary, patch_size_t: 2, in_channels: 8, ofs_embed_dim: 8 };

let engine: Engine;
beforeAll(() => {
  engine = new Engine({ threads: 1 });
});
afterAll(() => engine.close());

test.each([
  ["T1_sincos_base", base],
  ["T2_rope10_base", rotary],
  ["T5_v15_i2v_ofs", ofs],
])("is the distance to the reference's prediction: %s", async (name, json) => {
  const { outputs, feeds } = lossGraph(json, [1, 1], [0, 0], name === "T5_v15_i2v_ofs" ? 4 : 3);
  const found = await runModel(engine, toOnnx(outputs), feeds);
  const { data } = feeds.noise;
  const squares = golden[name].data.map((v: number, i: number) => (v - Number(data[i])) ** 2);
  const half = squares.length / 2;
  const expected = [mean(squares.slice(0, half)), mean(squares.slice(half))];
  expect(found.perSample).toBeCloseToArray(expected, { rtol: 1e-5, atol: 0 });
  expect(found.loss[0]).toBeCloseTo(mean(expected), 4);
});

test("repeats the first frame of an odd clip for temporal patches", async () => {
  const config = parseTransformerConfig({ ...rotary, patch_size_t: 2 }, "config.json");
  const feeds = oddClip();
  const { odd: short, even, ...x } = inputsOf(feeds) as Record<keyof typeof feeds, Tensor>;
  const p = new Scope();
  const { loss } = diffusionLoss(p, { ...x, latents: short }, config);
  const expected = diffusionLoss(p, { ...x, latents: even }, config).loss;
  const found = await runModel(engine, toOnnx({ loss, expected }), { ...feeds, ...weightFeeds(p) });
  expect(found.loss[0]).toBeCloseTo(found.expected[0], 5);
});

test("takes an image of as many frames as the longer clip has, so that it is not repeated", async () => {
  const config = parseTransformerConfig({ ...rotary, patch_size_t: 2, in_channels: 8 }, "config.json");
  const feeds = { ...oddClip(), first: hashed([1, 1, 4, 6, 8], 5) };
  const { odd: short, even, first, ...x } = inputsOf(feeds) as Record<keyof typeof feeds, Tensor>;
  const p = new Scope();
  const imageOf = (frames: number) => pad(first, [0, 0, 0, 0, 0], [0, frames - 1, 0, 0, 0]);
  const { loss } = diffusionLoss(p, { ...x, latents: short, condition: imageOf(4) }, config);
  const expected = diffusionLoss(p, { ...x, latents: even, condition: imageOf(4) }, config).loss;
  const found = await runModel(engine, toOnnx({ loss, expected }), { ...feeds, ...weightFeeds(p) });
  expect(found.loss[0]).toBeCloseTo(found.expected[0], 5);
  expect(() => diffusionLoss(p, { ...x, latents: short, condition: imageOf(3) }, config)).toThrow(ShapeError);
});

test("mixes and aims as the host's forward process does", async () => {
  const { alphaBar, signal, sigma } = rates();
  const feeds = { ...mixtureFeeds([2, 3, 4, 6, 8], signal, sigma) };
  const inputs = inputsOf(feeds);
  const x = mixtureOf(inputs);
  const found = await runModel(engine, toOnnx({ x: noisyLatents(x), v: velocityTarget(x) }), feeds);
  const size = found.x.length / 2;
  expect(alphaBar[0]).toBe(0);
  for (const [i, t] of timesteps.entries()) {
    const [clean, noise] = [feeds.latents, feeds.noise].map(({ data }) =>
      Float32Array.from(data as Float32Array).slice(i * size, (i + 1) * size),
    );
    const at = (values: readonly number[]) => values.slice(i * size, (i + 1) * size);
    expect(at(found.x)).toBeCloseToArray(addNoise(schedule, clean, noise, t), { atol: 1e-6 });
    expect(at(found.v)).toBeCloseToArray(velocity(schedule, clean, noise, t), { atol: 1e-6 });
  }
});

test("equals the error of the clean latents weighted by 1 / sigma²", async () => {
  const { signal, sigma } = rates();
  const { outputs, feeds, predicted, x } = lossGraph(rotary, signal, sigma, 3);
  const noisy = noisyLatents(x);
  const graph = toOnnx({ perSample: outputs.perSample, predicted, noisy });
  const found = await runModel(engine, graph, feeds);
  const size = found.predicted.length / 2;
  const weighted = [0, 1].map((sample) => {
    const errors = Array.from({ length: size }, (_, i) => {
      const at = sample * size + i;
      const clean = signal[sample] * found.noisy[at] - sigma[sample] * found.predicted[at];
      return (clean - Number(feeds.latents.data[at])) ** 2 / sigma[sample] ** 2;
    });
    return mean(errors);
  });
  expect(found.perSample).toBeCloseToArray(weighted, { rtol: 1e-4, atol: 0 });
});

test("sends gradients to every parameter, those of a text encoder in the same graph included", async () => {
  const textConfig = parseT5Config(
    {
      vocab_size: 16,
      d_model: 12,
      d_kv: 4,
      d_ff: 20,
      num_layers: 2,
      num_heads: 3,
      feed_forward_proj: "gated-gelu",
    },
    "config.json",
  );
  const { p, outputs, feeds } = lossGraph(rotary, ...ratesOf(), 3, (scope, all) =>
    t5Encode(scope, all.ids, textConfig),
  );
  const params = [...p.declared.values()];
  const found = gradients(outputs.loss, params);
  const names = [...p.declared.keys()];
  const graph = toOnnx({ loss: outputs.loss, ...Object.fromEntries(names.map((key, i) => [key, found[i]])) });
  const weights = weightFeeds(p);
  const { loss, ...grads } = await runModel(engine, graph, { ...feeds, ...weights });
  const untouched = names.filter((key) => grads[key].every((value) => value === 0));
  expect(untouched).toEqual([]);

  const key = "shared.weight";
  const step = 1e-2;
  const direction = grads[key].map((g) => g / Math.hypot(...grads[key]));
  const moved = (by: number) => ({
    ...weights,
    [key]: f32(
      weights[key].shape,
      direction.map((d, i) => Number(weights[key].data[i]) + by * d),
    ),
  });
  const only = toOnnx({ loss: outputs.loss });
  const up = await runModel(engine, only, { ...feeds, ...moved(step) });
  const down = await runModel(engine, only, { ...feeds, ...moved(-step) });
  const difference = (up.loss[0] - down.loss[0]) / (2 * step);
  expect(relativeError([Math.hypot(...grads[key])], [difference])).toBeLessThan(2e-2);
  expect(loss[0]).toBeGreaterThan(0);
});

/** The loss of a toy transformer over hashed inputs, at two samples. */
function lossGraph(
  json: object,
  signal: readonly number[],
  sigma: readonly number[],
  frames: number,
  textOf = (_: Scope, all: Record<string, Tensor>): Tensor => all.text,
) {
  const config = parseTransformerConfig(json, "config.json");
  const size = { frames, height: 6, width: 8 };
  const { added, rotary } = positionsFor(config, size, 5);
  const data = conditionFeeds(config.width, config.freqShift, config.ofsDim);
  const joined = hashInput([2, frames, config.inChannels, 6, 8], 1000);
  const tokens = 5 + ((frames / (config.patchT ?? 1)) * 48) / 4;
  const feeds: Record<string, HostTensor> = {
    ...data,
    ...mixtureFeeds([2, frames, 4, 6, 8], signal, sigma),
    ...(config.inChannels === 8 ? channelsOf(joined, frames) : {}),
    ...(added.kind === "rows" ? { positions: f32([1, tokens, config.width], [...added.rows]) } : {}),
    ...(rotary
      ? {
          cos: f32([1, tokens, config.headDim / 2], [...rotary.cos]),
          sin: f32([1, tokens, config.headDim / 2], [...rotary.sin]),
        }
      : {}),
  };
  const all = inputsOf(feeds);
  const p = new Scope();
  const { latents, noise, timestep, ofs, positions } = all;
  const rates = { signal: all.signal, sigma: all.sigma };
  const rotation = rotary ? { cos: all.cos, sin: all.sin } : undefined;
  const x = { latents, noise, ...rates, timestep, ofs, positions, condition: all.condition, rotation };
  const conditions = { ...x, text: textOf(p, all) };
  const { loss, perSample } = diffusionLoss(p, conditions, config);
  const predicted = predictVelocity(p, noisyLatents(conditions), conditions, config);
  return {
    p,
    x: conditions,
    predicted,
    outputs: { loss, perSample },
    feeds: { ...feeds, ...weightFeeds(p) },
  };
}

function mixtureFeeds(shape: readonly number[], signal: readonly number[], sigma: readonly number[]) {
  return {
    latents: hashed(shape, 1000),
    noise: hashed(shape, 1007),
    signal: f32([2], signal),
    sigma: f32([2], sigma),
  };
}

/** The fixture's 8 channels cut into noisy latents and conditioning. */
function channelsOf(joined: Float32Array, frames: number): Record<string, HostTensor> {
  const cut = (from: number) =>
    f32(
      [2, frames, 4, 6, 8],
      Array.from(
        { length: joined.length / 2 },
        (_, i) => joined[Math.floor(i / 192) * 384 + from + (i % 192)],
      ),
    );
  return { latents: cut(0), condition: cut(192) };
}

function conditionFeeds(width: number, shift: number, ofsDim: number | null): Record<string, HostTensor> {
  const features = (values: readonly number[], dim: number) =>
    f32([2, dim], [...timestepFeatures(values, dim, shift)]);
  return {
    timestep: features(timesteps, width),
    text: hashed([2, 5, 12], 1001),
    ids: { dtype: "i32", shape: [2, 5], data: Int32Array.of(3, 9, 15, 1, 0, 2, 4, 7, 11, 1) },
    ...(ofsDim ? { ofs: features([2, 2], ofsDim) } : {}),
  };
}

function inputsOf(feeds: Readonly<Record<string, HostTensor>>): Record<string, Tensor> {
  return Object.fromEntries(
    Object.entries(feeds).map(([name, { shape, dtype }]) => [name, input(name, shape, dtype)]),
  );
}

function mixtureOf({ latents, noise, signal, sigma }: Record<string, Tensor>) {
  return { latents, noise, signal, sigma };
}

/** Hashed weights for every declared key, as the fixtures' reference has them. */
function weightFeeds(p: Scope): Record<string, HostTensor> {
  const shapes = Object.fromEntries([...p.declared].map(([key, { shape }]) => [key, shape]));
  const values = [...hashWeights(shapes)];
  return Object.fromEntries(values.map(([key, data]) => [key, { dtype: "f32", shape: shapes[key], data }]));
}

function rates() {
  const alphaBar = timesteps.map((t) => alphaBarAt(schedule, t));
  const signal = alphaBar.map((a) => Math.sqrt(a));
  return { alphaBar, signal, sigma: alphaBar.map((a) => Math.sqrt(1 - a)) };
}

function ratesOf(): [number[], number[]] {
  const { signal, sigma } = rates();
  return [signal, sigma];
}

/** Three latent frames, the same with the first of them twice, and what else a loss of one clip is fed. */
function oddClip() {
  const odd = hashed([1, 3, 4, 6, 8], 1);
  return {
    odd,
    even: f32([1, 4, 4, 6, 8], [...numbers(odd).slice(0, 192), ...numbers(odd)]),
    noise: hashed([1, 4, 4, 6, 8], 2),
    signal: f32([1], [0.6]),
    sigma: f32([1], [0.8]),
    timestep: hashed([1, 32], 3),
    text: hashed([1, 5, 12], 4),
  };
}

function mean(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0) / values.length;
}
