/** @file One training step of every model against PyTorch in double precision: the loss and every gradient. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { gradients, unreached } from "../../src/autodiff/grad.ts";
import {
  alphaBarAt,
  type NoiseSchedule,
  noiseSchedule,
  parseSchedulerConfig,
} from "../../src/diffusion/schedule.ts";
import { abs, concat, exp, maximum, minimum } from "../../src/graph/functions.ts";
import { toOnnx } from "../../src/graph/onnx.ts";
import { constant, input, type Tensor } from "../../src/graph/tensor.ts";
import { parseT5Config } from "../../src/models/t5/config.ts";
import { encoderLayer } from "../../src/models/t5/encoder.ts";
import { relativeBuckets } from "../../src/models/t5/relative-positions.ts";
import { block } from "../../src/models/transformer/block.ts";
import { parseTransformerConfig, type TransformerConfig } from "../../src/models/transformer/config.ts";
import type { LatentSize } from "../../src/models/transformer/grid.ts";
import { type Positions, positionsFor } from "../../src/models/transformer/positions/positions.ts";
import { timestepFeatures } from "../../src/models/transformer/timestep.ts";
import { embed, head } from "../../src/models/transformer/transformer.ts";
import { causalConv } from "../../src/models/vae/causal-conv.ts";
import { parseVaeConfig, type VaeConfig } from "../../src/models/vae/config.ts";
import { decoderFront, decoderHead, decoderLevel } from "../../src/models/vae/decoder.ts";
import { encoderHead, encoderLevel } from "../../src/models/vae/encoder.ts";
import { toClip } from "../../src/models/vae/frames.ts";
import { vaePass } from "../../src/models/vae/pass.ts";
import { embedding, rmsNorm } from "../../src/nn/layers.ts";
import { Scope } from "../../src/nn/scope.ts";
import { Engine } from "../../src/runtime/engine.ts";
import type { HostTensor } from "../../src/runtime/protocol.ts";
import { openWeights } from "../../src/weights/checkpoint.ts";
import { readFloats } from "../../src/weights/read.ts";
import { readHeader } from "../../src/weights/safetensors.ts";
import { type Feeds, runModel } from "../helpers/central-differences.ts";
import { hashInput, hashWeights } from "../helpers/hash-fill.ts";

type Recorded = { readonly loss: number; readonly config?: unknown };

const fixtures = join(process.cwd(), "test/fixtures/training");
const recorded = (name: string) => join(process.cwd(), "test/fixtures/checkpoints", name);
const json = (file: string) => JSON.parse(readFileSync(file, "utf8"));
const cases: Readonly<Record<string, Recorded>> = json(join(fixtures, "cases.json"));

/** One step as a graph: a scalar, the parameters it declares, and everything else that it is fed. */
type Step = { readonly loss: Tensor; readonly params: ReadonlyMap<string, Tensor>; readonly feeds: Feeds };

/** Weights by key, for parameters of these shapes. */
type ReadWeights = (params: Step["params"]) => Promise<Feeds>;

const stored =
  (folder: string): ReadWeights =>
  async (params) => {
    const { tensors } = await openWeights(folder);
    expect([...params.keys()].sort()).toEqual([...tensors.keys()].sort());
    const read = [...tensors].map(async ([key, tensor]) => [
      key,
      f32(tensor.shape, await readFloats(tensor)),
    ]);
    return Object.fromEntries(await Promise.all(read));
  };

const fromHash: ReadWeights = async (params) => {
  const shapes = Object.fromEntries([...params].map(([key, { shape }]) => [key, shape]));
  return Object.fromEntries([...hashWeights(shapes)].map(([key, data]) => [key, f32(shapes[key], data)]));
};

type Model = {
  readonly step: () => Step;
  readonly weights: ReadWeights;
  /** Parameters whose gradient is zero whatever the data. */
  readonly symmetric?: RegExp;
};

const models: Readonly<Record<string, Model>> = {
  "transformer-rope": recordedTransformer("t2v-rope", 3),
  // Without a rotation, what is added to every key adds the same to every score of a query.
  "transformer-sincos": { ...recordedTransformer("t2v-sincos", 3), symmetric: /\.attn1\.norm_k\.bias$/ },
  "transformer-patch-t": recordedTransformer("t2v-patch-t", 4),
  "transformer-ofs": {
    step: () => {
      const config = parseTransformerConfig(cases["transformer-ofs"].config, "cases.json");
      return transformerStep(config, 4, scheduleOf("t2v-rope"));
    },
    weights: fromHash,
  },
  vae: { step: vaeStep, weights: stored(join(recorded("t2v-rope"), "vae")) },
  t5: { step: t5Step, weights: stored(join(recorded("t2v-rope"), "text_encoder")) },
};

let engine: Engine;
beforeAll(() => {
  engine = new Engine({ threads: 1 });
});
afterAll(() => engine.close());

test("every recorded step has a test", () => {
  expect(Object.keys(models).sort()).toEqual(Object.keys(cases).sort());
});

describe.each(Object.entries(models))("a step of %s", (name, { step, weights, symmetric }) => {
  test("sends a gradient to every parameter", () => {
    const { loss, params } = step();
    expect(unreached(loss, params)).toEqual([]);
  });

  test("has PyTorch's loss and gradients", async () => {
    const { loss, params, feeds } = step();
    const keys = [...params.keys()];
    const found = gradients(loss, [...params.values()]);
    const graph = { loss, ...Object.fromEntries(keys.map((key, i) => [key, found[i]])) };
    const results = await runModel(engine, toOnnx(graph), { ...feeds, ...(await weights(params)) });
    expect(Math.abs(results.loss[0] / cases[name].loss - 1)).toBeLessThan(1e-5);
    const compared = await compare(name, keys, results);
    expect(compared.filter(({ error }) => !(error < 1e-4))).toEqual([]);
    const zero = compared.filter(({ isZero }) => isZero).map(({ key }) => key);
    expect(zero.sort()).toEqual(keys.filter((key) => symmetric?.test(key)).sort());
  });
});

test("the KL term alone reaches every parameter of the encoder and none of the decoder", () => {
  const { kl, params } = vaeStep();
  const decoder = [...params.keys()].filter((key) => key.startsWith("decoder."));
  expect(unreached(kl, params)).toEqual(decoder);
});

const f32 = (shape: readonly number[], data: Float32Array): HostTensor => ({ dtype: "f32", shape, data });

const filled = (shape: readonly number[], key: number, scale?: number): HostTensor =>
  f32(shape, hashInput(shape, key, scale));

/** Inputs of a graph that are fed these tensors. */
function inputsFor<K extends string>(feeds: Readonly<Record<K, HostTensor>>): Record<K, Tensor> {
  const entries = Object.entries<HostTensor>(feeds);
  return Object.fromEntries(
    entries.map(([key, { shape, dtype }]) => [key, input(key, shape, dtype)]),
  ) as Record<K, Tensor>;
}

function recordedTransformer(checkpoint: "t2v-rope" | "t2v-sincos" | "t2v-patch-t", frames: number): Model {
  const folder = join(recorded(checkpoint), "transformer");
  const config = parseTransformerConfig(json(join(folder, "config.json")), "config.json");
  return { step: () => transformerStep(config, frames, scheduleOf(checkpoint)), weights: stored(folder) };
}

function scheduleOf(checkpoint: string): NoiseSchedule {
  const name = "scheduler/scheduler_config.json";
  return noiseSchedule(parseSchedulerConfig(json(join(recorded(checkpoint), name)), name));
}

/** The mean square of what the transformer makes wrong of the velocity. */
function transformerStep(config: TransformerConfig, frames: number, schedule: NoiseSchedule): Step {
  const size = { frames, height: 6, width: 8 };
  const positions = positionsFor(config, size, config.maxTextLength);
  const feeds = transformerFeeds(config, size, schedule, positions);
  const x: Record<string, Tensor> = inputsFor(feeds);
  const noisy = x.latents.mul(x.signal).add(x.noise.mul(x.sigma));
  const target = x.noise.mul(x.signal).sub(x.latents.mul(x.sigma));
  const p = new Scope();
  const latents = x.image ? concat([noisy, x.image], 2) : noisy;
  const arriving = { ...x, latents, text: x.text, timestep: x.timestep };
  const { emb, ...start } = embed(p, arriving, config, positions.added.kind);
  const rotation = positions.rotary ? { cos: x.cos, sin: x.sin } : null;
  let streams = start;
  for (let i = 0; i < config.layers; i++)
    streams = block(p.at("transformer_blocks", i), streams, emb, rotation, config);
  const wrong = head(p, streams.video, emb, config, size).sub(target);
  return { loss: wrong.mul(wrong).mean([0, 1, 2, 3, 4]), params: p.declared, feeds };
}

/** Two samples, at timesteps 999 (no signal is left) and 400. */
function transformerFeeds(
  config: TransformerConfig,
  size: LatentSize,
  schedule: NoiseSchedule,
  { added, rotary }: Positions,
): Feeds {
  const times = [999, 400];
  const latents = [2, size.frames, config.outChannels, size.height, size.width];
  const rate = (of: (alphaBar: number) => number) =>
    f32(
      [2, 1, 1, 1, 1],
      Float32Array.from(times, (t) => of(alphaBarAt(schedule, t))),
    );
  const features = (values: number[], width: number) => f32([2, width], timestepFeatures(values, width));
  const rows = (data: Float32Array, width: number) => f32([1, data.length / width, width], data);
  return {
    latents: filled(latents, 1000),
    noise: filled(latents, 1001),
    text: filled([2, config.maxTextLength, config.textDim], 1002),
    signal: rate(Math.sqrt),
    sigma: rate((alphaBar) => Math.sqrt(1 - alphaBar)),
    timestep: features(times, config.width),
    ...(config.inChannels > config.outChannels ? { image: filled(latents, 1003) } : {}),
    ...(config.ofsDim ? { ofs: features([2, 2], config.ofsDim) } : {}),
    ...(added.kind === "rows" ? { positions: rows(added.rows, config.width) } : {}),
    ...(rotary
      ? { cos: rows(rotary.cos, config.headDim / 2), sin: rows(rotary.sin, config.headDim / 2) }
      : {}),
  };
}

/**
 * mean |decode(z) - x| + 1e-4 KL for z drawn from the posterior of nine frames. The encoder takes them, and the decoder
 * their three latent frames, as one chunk, here as in the reference.
 */
function vaeStep(): Step & { readonly kl: Tensor } {
  const config = parseVaeConfig(json(join(recorded("t2v-rope"), "vae/config.json")), "config.json");
  const { latentChannels } = config;
  const feeds = {
    clip: filled([1, 3, 9, 16, 24], 2000, 2),
    noise: filled([1, latentChannels, 3, 2, 3], 2001),
  };
  const { clip, noise } = inputsFor(feeds);
  const p = new Scope();
  const frames = clip.reshape([3, 9, 16, 24]).transpose([1, 0, 2, 3]);
  const moments = encode(p.at("encoder"), frames, config); // [3, 2L, 2, 3]
  const mean = moments.slice(1, 0, latentChannels);
  const logVariance = minimum(maximum(moments.slice(1, latentChannels), -30), 20);
  const drawn = noise.reshape([latentChannels, 3, 2, 3]).transpose([1, 0, 2, 3]);
  const z = mean.add(exp(logVariance.mul(0.5)).mul(drawn));
  const kl = mean.mul(mean).add(exp(logVariance)).sub(1).sub(logVariance).sum([0, 1, 2, 3]).mul(0.5);
  const wrong = abs(decode(p.at("decoder"), z, config).sub(frames)).mean([0, 1, 2, 3]);
  return { loss: wrong.add(kl.mul(1e-4)), kl, params: p.declared, feeds };
}

const whole = { frames: 0, height: 0, width: 0, continues: false, keeps: false, block: 1 };

function encode(p: Scope, frames: Tensor, config: VaeConfig): Tensor {
  const pass = vaePass(config, whole, null);
  let x = causalConv(p.at("conv_in"), toClip(frames, 1), config.channels[0], pass.caches);
  for (let index = 0; index < config.channels.length; index++) x = encoderLevel(p, x, index, config, pass);
  return encoderHead(p, x, config, pass);
}

function decode(p: Scope, latents: Tensor, config: VaeConfig): Tensor {
  const pass = vaePass(config, whole, latents);
  let x = decoderFront(p, latents, config, pass, 1);
  for (let index = 0; index < config.channels.length; index++) x = decoderLevel(p, x, index, config, pass);
  return decoderHead(p, x, config, pass);
}

/** Two rows of tokens, the first one padded; as the pipeline does, nothing masks the padding. */
const ids = [
  [5, 9, 33, 2, 61, 1, 0, 0, 0, 0, 0, 0],
  [799, 9, 9, 120, 640, 7, 3, 71, 33, 500, 28, 1],
];

/** The mean square distance of the encoder's states from hashed ones. */
function t5Step(): Step {
  const config = parseT5Config(json(join(recorded("t2v-rope"), "text_encoder/config.json")), "config.json");
  const feeds = { target: filled([2, 12, config.width], 3000) };
  const { target } = inputsFor(feeds);
  const p = new Scope();
  const table = p.at("encoder", "block", 0, "layer", 0, "SelfAttention", "relative_attention_bias");
  const buckets = constant(relativeBuckets(12, config), [12, 12], "i32");
  const bias = embedding(table, buckets, config.buckets, config.heads)
    .reshape([1, 12, 12, config.heads])
    .transpose([0, 3, 1, 2]);
  const tokens = constant(Int32Array.from(ids.flat()), [2, 12], "i32");
  let x = embedding(p.at("shared"), tokens, config.vocabulary, config.width);
  for (let i = 0; i < config.layers; i++) x = encoderLayer(p.at("encoder", "block", i), x, bias, config);
  const wrong = rmsNorm(p.at("encoder", "final_layer_norm"), x, config.eps).sub(target);
  return { loss: wrong.mul(wrong).mean([0, 1, 2]), params: p.declared, feeds };
}

/** Tensors with fewer elements are recorded whole, others at 64 places. */
const WHOLE = 2000;

/** Values at the places that the fixture holds. */
function sampled(values: readonly number[]): readonly number[] {
  if (values.length < WHOLE) return values;
  return Array.from({ length: 64 }, (_, i) => values[(i * 2654435761) % values.length]);
}

/**
 * How far every gradient is from PyTorch's: recorded elements by the tensor's largest one, and the norm of the whole
 * tensor. Where symmetry makes a gradient zero, both sides hold rounding noise, which is measured by the largest
 * element of all gradients.
 */
async function compare(name: string, keys: readonly string[], found: Record<string, number[]>) {
  const { tensors } = await readHeader(join(fixtures, `${name}.safetensors`));
  const read = (key: string) => readFloats(tensors.get(key)!);
  const summaries = new Map<string, { norm: number; largest: number }>();
  for (const key of keys) {
    const [norm, largest] = await read(`summary/${key}`);
    summaries.set(key, { norm, largest });
  }
  const overall = Math.max(...[...summaries.values()].map(({ largest }) => largest));
  const compared = keys.map(async (key) => {
    const expected = await read(`grad/${key}`);
    const { norm, largest } = summaries.get(key)!;
    const isZero = largest < 1e-12 * overall;
    const values = sampled(found[key]);
    expect(values.length, key).toBe(expected.length);
    const worst = values.reduce((max, v, i) => Math.max(max, Math.abs(v - expected[i])), 0);
    const lengths = Math.abs(lengthOf(found[key]) - norm);
    const error = isZero ? worst / overall : Math.max(worst / largest, lengths / norm);
    return { key, error, isZero };
  });
  return Promise.all(compared);
}

function lengthOf(values: readonly number[]): number {
  return Math.sqrt(values.reduce((sum, v) => sum + v * v, 0));
}
