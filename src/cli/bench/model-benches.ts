/** @file Benchmarks of single models at official width. */
import { createRng, drawNormals } from "../../diffusion/noise.ts";
import { ConfigError } from "../../errors.ts";
import { type Shape, sizeOf } from "../../graph/shape.ts";
import { parseT5Config } from "../../models/t5/config.ts";
import { parseTransformerConfig } from "../../models/transformer/config.ts";
import { gridOf, tokensOf } from "../../models/transformer/grid.ts";
import { parseVaeConfig } from "../../models/vae/config.ts";
import { openComponent } from "../../pipeline/checkpoint.ts";
import { type ClipSize, clipSize, latentSize } from "../../pipeline/clip-size.ts";
import { Denoiser } from "../../pipeline/denoiser.ts";
import { type Precision, requireArithmetic, weightsIn } from "../../pipeline/precision.ts";
import { TextEncoder } from "../../pipeline/text-encoder.ts";
import { VideoDecoder } from "../../pipeline/video-decoder.ts";
import { VideoEncoder } from "../../pipeline/video-encoder.ts";
import type { Engine } from "../../runtime/engine.ts";
import type { HostTensor } from "../../runtime/protocol.ts";
import type { Context } from "../command.ts";
import { quantizeHooks } from "../precision-option.ts";
import { gflops, type Measurement, measure } from "./measure.ts";
import { t5Xxl, transformer2b, vae } from "./official-configs.ts";
import { withRandomCheckpoint } from "./random-checkpoint.ts";

/** What to measure; whatever is missing takes the benchmark's own value. */
export type BenchRequest = Partial<ClipSize> & {
  readonly layers?: number;
  readonly runs?: number;
  readonly precision: Precision;
  readonly mode: "decode" | "encode";
  readonly engine: Engine;
  readonly context: Context;
};

/** One line of results; `gflops` is null where operations are not counted. */
export type BenchResult = Measurement & {
  readonly what: string;
  readonly precision: Precision;
  readonly layers: number | null;
  readonly tokens: number | null;
  readonly gflops: number | null;
};

const TEXT_TOKENS = 226;

/** The transformer of CogVideoX-2B's width with `layers` (6) blocks, one sample: 4,276 tokens at 720x480, 9 frames. */
export async function benchTransformer(request: BenchRequest): Promise<BenchResult> {
  const { layers = 6, runs = 3, engine, context, width, height, frames = 9, precision } = request;
  await requireArithmetic(engine, precision);
  const json = { ...transformer2b, num_layers: requireCount("--layers", layers) };
  return withRandomCheckpoint({ transformer: json }, context, async (folder) => {
    const { config, weights: stored } = await openComponent(folder, "transformer", parseTransformerConfig);
    const weights = await weightsIn(precision, stored, { ...quantizeHooks(context), cache: folder });
    const size = latentSize(config, clipSize(config, { width, height, frames }));
    const tokens = TEXT_TOKENS + tokensOf(gridOf(config, size));
    const denoiser = new Denoiser(engine, config, weights, { ...size, batch: 1, textLength: TEXT_TOKENS });
    const inputs = {
      latents: normals([1, size.frames, config.inChannels, size.height, size.width]),
      text: normals([1, TEXT_TOKENS, config.textDim]),
      timestep: [500],
    };
    const measured = await measure(runs, () => denoiser.predict(inputs, context));
    await denoiser.close();
    const operations = layers * (24 * config.width ** 2 * tokens + 4 * tokens ** 2 * config.width);
    return { ...result("dit", measured, { layers, tokens, operations }), precision };
  });
}

/** The encoder of T5 v1.1 XXL's width with `layers` (4) layers, one prompt of 226 tokens. */
export async function benchTextEncoder(request: BenchRequest): Promise<BenchResult> {
  const { layers = 4, runs = 3, engine, context } = request;
  const json = { ...t5Xxl, num_layers: requireCount("--layers", layers) };
  return withRandomCheckpoint({ text_encoder: json }, context, async (folder) => {
    const { config, weights } = await openComponent(folder, "text_encoder", parseT5Config);
    const encoder = new TextEncoder(engine, config, weights, { batch: 1, length: TEXT_TOKENS });
    const data = Int32Array.from({ length: TEXT_TOKENS }, (_, i) => (i * 7919) % config.vocabulary);
    const ids: HostTensor = { dtype: "i32", shape: [1, TEXT_TOKENS], data };
    const measured = await measure(runs, () => encoder.encode(ids, context));
    const { width, heads, headDim, hidden } = config;
    const operations = layers * 2 * TEXT_TOKENS * (4 * width * heads * headDim + 3 * width * hidden);
    return result("t5", measured, { layers, tokens: TEXT_TOKENS, operations });
  });
}

/** The VAE at official width: decodes to or encodes from 9 frames of 360x240 unless asked otherwise. */
export async function benchVae(request: BenchRequest): Promise<BenchResult> {
  const { runs = 1, mode, engine, context, width = 360, height = 240, frames = 9 } = request;
  requireVaeSize({ width, height, frames });
  return withRandomCheckpoint({ vae }, context, async (folder) => {
    const { config, weights } = await openComponent(folder, "vae", parseVaeConfig);
    const decoder = new VideoDecoder(engine, config, weights, { tiling: false });
    const encoder = new VideoEncoder(engine, config, weights, { tiling: false });
    const latents = normals([1, vae.latent_channels, (frames - 1) / 4 + 1, height / 8, width / 8]);
    const pixels = normals([1, 3, frames, height, width]);
    const measured = await measure(runs, () =>
      mode === "decode" ? decoder.decode(latents, context) : encoder.encode(pixels, context),
    );
    return result(`vae-${mode}`, measured, { layers: null, tokens: null, operations: null });
  });
}

function result(
  what: string,
  measured: Measurement,
  { layers, tokens, operations }: Pick<BenchResult, "layers" | "tokens"> & { operations: number | null },
): BenchResult {
  const { seconds, ...memory } = measured;
  const rate = operations === null ? null : gflops(operations, seconds);
  return { what, precision: "fp32", layers, tokens, seconds, gflops: rate, ...memory };
}

function normals(shape: Shape): HostTensor {
  return { dtype: "f32", shape, data: drawNormals(createRng(0), sizeOf(shape)) };
}

/** @throws ConfigError for a count below 1 */
export function requireCount(option: string, value: number): number {
  if (value >= 1) return value;
  throw new ConfigError(`${option} must be at least 1, got ${value}`);
}

function requireVaeSize({ width, height, frames }: ClipSize): void {
  for (const [name, value] of Object.entries({ width, height }))
    if (value < 8 || value % 8 !== 0)
      throw new ConfigError(`--${name} must be a multiple of 8 for the VAE, got ${value}`);
  if (frames < 1 || frames % 4 !== 1)
    throw new ConfigError(`--frames must be 4k + 1 for the VAE, got ${frames}`);
}
