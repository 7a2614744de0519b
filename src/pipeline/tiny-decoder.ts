/** @file Latents to pixels by a tiny decoder, one latent frame at a time: quick, and less exact than the VAE. */
import { join } from "node:path";
import { ConfigError, WeightsError } from "../errors.ts";
import type { Segment } from "../graph/segment.ts";
import { sizeOf } from "../graph/shape.ts";
import {
  PAST_PREFIX,
  pastShapes,
  TIME_RATIO,
  type TinyVaeConfig,
  tinyDecoderSegments,
  widthKeys,
} from "../models/tiny-vae/decoder.ts";
import type { Engine, Value } from "../runtime/engine.ts";
import { declaredShapes, mapWeights } from "../runtime/mapped-weights.ts";
import type { HostTensor, ResidentRef } from "../runtime/protocol.ts";
import { SegmentPool } from "../runtime/segment-pool.ts";
import { openWeightsFile, type WeightSet } from "../weights/checkpoint.ts";
import { sha256Of } from "../weights/file.ts";
import type { Component, TinyDecoderWeights } from "./checkpoint.ts";
import { sliceFrames } from "./clip-layout.ts";
import type { RunHooks } from "./run-hooks.ts";

/** Name of the file in a checkpoint's folder that "tiny" stands for. */
export const TINY_FILE = "taecvx.safetensors";

/**
 * Opens the weights of a tiny decoder for latents of so many channels: the file, or for "tiny" the one of that name in
 * the checkpoint's folder.
 * @throws WeightsError for a file that holds something else, ConfigError for one that decodes other latents
 */
export async function openTinyDecoder(
  decoder: string,
  folder: string,
  channels: number,
): Promise<TinyDecoderWeights> {
  const file = decoder === "tiny" ? join(folder, TINY_FILE) : decoder;
  const weights = await openWeightsFile(file);
  const config = configOf(file, weights);
  if (config.latentChannels !== channels)
    throw new ConfigError(
      `${file} decodes latents of ${config.latentChannels} channels, but those of this model have ${channels}; ` +
        "take weights for CogVideoX (taecvx)",
    );
  mapTiny(weights, config);
  return { config, weights, source: { file: decoder, sha256: await sha256Of(file) } };
}

function configOf(file: string, { tensors }: WeightSet): TinyVaeConfig {
  const shapes = widthKeys.map((key) => tensors.get(key)?.shape);
  const missing = widthKeys.filter((_, i) => shapes[i]?.length !== 4);
  if (missing.length > 0)
    throw new WeightsError(
      `${file} holds no tiny video decoder: ${missing.join(", ")} must be there with four axes; take taecvx.safetensors ` +
        "of github.com/madebyollin/taehv",
    );
  return { latentChannels: shapes[0]![1], widths: shapes.map((shape) => shape![0]) };
}

/** The encoder beside it in the file is of no use here. */
function mapTiny(weights: WeightSet, config: TinyVaeConfig) {
  const segments = tinyDecoderSegments(config, { frames: 1, height: 1, width: 1 });
  return mapWeights(weights, declaredShapes(segments), { ignore: [/^encoder\./] });
}

/** What the blocks of all levels have seen last, by input name. */
type Pasts = Record<string, Value>;

/** A tiny decoder at work; the counterpart of `VideoDecoder`. */
export class TinyDecoder {
  private readonly config: TinyVaeConfig;
  private readonly engine: Engine;
  private readonly pool: SegmentPool;

  /** @throws WeightsError when the file does not fit the model */
  constructor(engine: Engine, { config, weights }: Component<TinyVaeConfig>) {
    this.engine = engine;
    this.config = config;
    this.pool = new SegmentPool(engine, mapTiny(weights, config));
  }

  /** As many frames as the VAE decodes to: 4(F - 1) + 1 for an odd number of latent frames, 4F for an even one. */
  framesOf(latentFrames: number): number {
    return TIME_RATIO * latentFrames - leading(latentFrames);
  }

  /**
   * Frames `[T, 3, H, W]` in [-1, 1], those of one latent frame at a time, for latents `[F, L, h, w]` as the transformer
   * leaves them. Leaving the loop early, or an error, lets everything go.
   */
  async *decodeStream(latents: HostTensor, hooks: RunHooks = {}): AsyncGenerator<HostTensor> {
    const [count, , height, width] = latents.shape;
    const chunk = { frames: 1, height, width };
    const segments = tinyDecoderSegments(this.config, chunk);
    let pasts: Pasts = Object.assign(
      {},
      ...segments.map((_, level) => zeros(pastShapes(this.config, chunk, level))),
    );
    try {
      for (let i = 0; i < count; i++) {
        const done = await this.decodeChunk(segments, sliceFrames(latents, i, i + 1), pasts, hooks);
        pasts = done.pasts;
        yield i === 0 ? sliceFrames(done.frames, leading(count), TIME_RATIO) : done.frames;
      }
    } finally {
      await this.engine.free(...Object.values(pasts).filter((past) => "id" in past));
      await this.pool.close();
    }
  }

  private async decodeChunk(
    segments: readonly Segment[],
    latents: HostTensor,
    pasts: Pasts,
    { signal, onSegment }: RunHooks,
  ): Promise<{ readonly frames: HostTensor; readonly pasts: Pasts }> {
    const next: Pasts = {};
    let arriving: Record<string, Value> = { latents };
    for (const [i, segment] of segments.entries()) {
      const own = Object.entries(pasts).filter(([name]) => name in segment.inputs);
      const feeds = { ...arriving, ...Object.fromEntries(own) };
      const consume = Object.values(feeds).filter((value): value is ResidentRef => "id" in value);
      const outputs = await this.pool.run(segment, feeds, { consume, signal });
      arriving = {};
      for (const [name, tensor] of Object.entries(outputs))
        if (name.startsWith(PAST_PREFIX)) next[name] = tensor;
        else arriving[name] = tensor;
      onSegment?.(segment.name, i + 1, segments.length);
    }
    return { frames: await this.pool.download(arriving.sample as ResidentRef), pasts: next };
  }
}

/** Frames that the first latent frame, which stands for one frame, has too many; an even number stands for four each. */
function leading(latentFrames: number): number {
  return latentFrames % 2 === 1 ? TIME_RATIO - 1 : 0;
}

function zeros(shapes: Readonly<Record<string, readonly number[]>>): Pasts {
  const empty = (shape: readonly number[]): HostTensor => ({
    dtype: "f32",
    shape,
    data: new Float32Array(sizeOf(shape)),
  });
  return Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, empty(shape)]));
}
