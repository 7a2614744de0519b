/** @file The training steps that PyTorch has recorded, as graphs over the same numbers. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import {
  alphaBarAt,
  type NoiseSchedule,
  noiseSchedule,
  parseSchedulerConfig,
} from "../../src/diffusion/schedule.ts";
import { input, type Tensor } from "../../src/graph/tensor.ts";
import { parseT5Config } from "../../src/models/t5/config.ts";
import { t5Encode } from "../../src/models/t5/encoder.ts";
import { parseTransformerConfig, type TransformerConfig } from "../../src/models/transformer/config.ts";
import type { LatentSize } from "../../src/models/transformer/grid.ts";
import { type Positions, positionsFor } from "../../src/models/transformer/positions/positions.ts";
import { timestepFeatures } from "../../src/models/transformer/timestep.ts";
import { parseVaeConfig, type VaeConfig } from "../../src/models/vae/config.ts";
import { Scope } from "../../src/nn/scope.ts";
import type { HostTensor } from "../../src/runtime/protocol.ts";
import { diffusionLoss } from "../../src/train/diffusion/loss.ts";
import { latentShape } from "../../src/train/vae/codec.ts";
import { vaeLoss } from "../../src/train/vae/loss.ts";
import { openWeights } from "../../src/weights/checkpoint.ts";
import { readFloats } from "../../src/weights/read.ts";
import { readHeader } from "../../src/weights/safetensors.ts";
import type { Feeds } from "./central-differences.ts";
import { hashInput, hashWeights } from "./hash-fill.ts";

type Recorded = { readonly loss: number; readonly config?: unknown; readonly optimiser?: Optimiser };

export type Optimiser = {
  readonly lr: number;
  readonly betas: readonly [number, number];
  readonly eps: number;
  readonly weightDecay: number;
  readonly clipNorm: number;
  /** Of every step, before the weights change. */
  readonly losses: readonly number[];
  readonly gradientNorms: readonly number[];
};

const fixtures = join(process.cwd(), "test/fixtures/training");
const recorded = (name: string) => join(process.cwd(), "test/fixtures/checkpoints", name);
const json = (file: string) => JSON.parse(readFileSync(file, "utf8"));
export const cases: Readonly<Record<string, Recorded>> = json(join(fixtures, "cases.json"));

/** One step as a graph: a scalar, the parameters it declares, and everything else that it is fed. */
export type Step = {
  readonly loss: Tensor;
  readonly params: ReadonlyMap<string, Tensor>;
  readonly feeds: Feeds;
};

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

export const models: Readonly<Record<string, Model>> = {
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
  vae: { step: recordedVaeStep, weights: stored(join(recorded("t2v-rope"), "vae")) },
  // Half the frames: five latent frames are decoded in two chunks, and gradients pass through the caches.
  "vae-chunks": {
    step: () => vaeStep(parseVaeConfig(cases["vae-chunks"].config, "cases.json"), [9, 4, 4]),
    weights: fromHash,
  },
  t5: { step: t5Step, weights: stored(join(recorded("t2v-rope"), "text_encoder")) },
};

export const f32 = (shape: readonly number[], data: Float32Array): HostTensor => ({
  dtype: "f32",
  shape,
  data,
});

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

/** The velocity loss of two samples. */
function transformerStep(config: TransformerConfig, frames: number, schedule: NoiseSchedule): Step {
  const size = { frames, height: 6, width: 8 };
  const positions = positionsFor(config, size, config.maxTextLength);
  const feeds = transformerFeeds(config, size, schedule, positions);
  const x = inputsFor(feeds);
  const { latents, noise, signal, sigma, timestep, text, ...rest } = x;
  const rotation = positions.rotary ? { cos: x.cos, sin: x.sin } : undefined;
  const p = new Scope();
  const mixture = { latents, noise, signal, sigma };
  const { loss } = diffusionLoss(p, { ...rest, ...mixture, timestep, text, rotation }, config);
  return { loss, params: p.declared, feeds };
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
      [2],
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
    ...(config.inChannels > config.outChannels ? { condition: filled(latents, 1003) } : {}),
    ...(config.ofsDim ? { ofs: features([2, 2], config.ofsDim) } : {}),
    ...(added.kind === "rows" ? { positions: rows(added.rows, config.width) } : {}),
    ...(rotary
      ? { cos: rows(rotary.cos, config.headDim / 2), sin: rows(rotary.sin, config.headDim / 2) }
      : {}),
  };
}

/** Nine frames and their three latent frames are one chunk each. */
export function recordedVaeStep() {
  const config = parseVaeConfig(json(join(recorded("t2v-rope"), "vae/config.json")), "config.json");
  return vaeStep(config, [9, 8, 16]);
}

/** The loss of a clip `[T, H, W]` with a KL weight of 1e-4, so that its gradient counts. */
function vaeStep(
  config: VaeConfig,
  [frames, height, width]: readonly number[],
): Step & { readonly kl: Tensor } {
  const latents = latentShape([frames, 3, height, width], config);
  const feeds = {
    clip: filled([3, frames, height, width], 2000, 2),
    noise: filled([latents[1], latents[0], ...latents.slice(2)], 2001),
  };
  const x = inputsFor(feeds);
  const [clip, noise] = [x.clip, x.noise].map((t) => t.transpose([1, 0, 2, 3]));
  const p = new Scope();
  const { loss, parts } = vaeLoss(p, { clip, noise }, config, { kl: 1e-4 });
  return { loss, kl: parts.kl, params: p.declared, feeds };
}

/** The mean square distance of the text encoder's states from hashed ones. */
function t5Step(): Step {
  const config = parseT5Config(json(join(recorded("t2v-rope"), "text_encoder/config.json")), "config.json");
  const feeds = {
    ids: { dtype: "i32", shape: [2, 12], data: Int32Array.from(ids.flat()) } as const,
    target: filled([2, 12, config.width], 3000),
  };
  const x = inputsFor(feeds);
  const p = new Scope();
  const wrong = t5Encode(p, x.ids, config).sub(x.target);
  return { loss: wrong.mul(wrong).mean([0, 1, 2]), params: p.declared, feeds };
}

/** Two rows of tokens, the first one padded; as in the reference, nothing masks the padding. */
const ids = [
  [5, 9, 33, 2, 61, 1, 0, 0, 0, 0, 0, 0],
  [799, 9, 9, 120, 640, 7, 3, 71, 33, 500, 28, 1],
];

/** Tensors with fewer elements are recorded whole, others at 64 places. */
const WHOLE = 2000;

/** Values at the places that the fixture holds. */
export function sampled(values: readonly number[]): readonly number[] {
  if (values.length < WHOLE) return values;
  return Array.from({ length: 64 }, (_, i) => values[(i * 2654435761) % values.length]);
}

/** Tensors of a recorded step by name, as float32. */
export async function recordedTensors(name: string): Promise<(key: string) => Promise<Float32Array>> {
  const { tensors } = await readHeader(join(fixtures, `${name}.safetensors`));
  return (key) => readFloats(tensors.get(key)!);
}
