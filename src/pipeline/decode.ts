/** @file Latents to frames, chunk by chunk as they are decoded. */
import { sizeOf } from "../graph/shape.ts";
import type { TransformerConfig } from "../models/transformer/config.ts";
import { leadingFrames } from "../models/transformer/grid.ts";
import type { TilingOptions } from "../models/vae/tiling.ts";
import type { Engine } from "../runtime/engine.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { sliceFrames } from "./clip-layout.ts";
import type { PipelineEvent } from "./events.ts";
import type { RunHooks } from "./run-hooks.ts";
import { TinyDecoder } from "./tiny-decoder.ts";
import { VideoDecoder } from "./video-decoder.ts";

/** How the VAE works through a clip. */
export type DecodeOptions = RunHooks & {
  /** Overlapping spatial tiles: less memory, slightly different pixels. */
  readonly tiling?: boolean | TilingOptions;
  /** Leading latent frames to drop; guessed from their number unless given. */
  readonly padding?: number;
  /**
   * Frames of the clip, all that are decoded unless given. Of an even number of latent frames each is decoded to four,
   * also the first one, which may stand for one frame: then the first three, which repeat it, are dropped.
   */
  readonly frames?: number;
};

/** Decodes `[1, F, C, h, w]` as the transformer leaves them, without padding frames, by the VAE or a tiny decoder. */
export async function* decodeLatents(
  engine: Engine,
  { transformer, vae, tinyDecoder }: Pick<Checkpoint, "transformer" | "vae" | "tinyDecoder">,
  latents: HostTensor,
  { tiling = false, padding, frames: asked, ...hooks }: DecodeOptions = {},
): AsyncGenerator<Extract<PipelineEvent, { kind: "frames" }>> {
  const skip = padding ?? likelyPadding(transformer.config, latents);
  // A tiny decoder takes latents as they are.
  const source = unscaled(latents, skip, tinyDecoder ? 1 : 1 / vae.config.scalingFactor);
  const decoder = tinyDecoder
    ? new TinyDecoder(engine, tinyDecoder)
    : new VideoDecoder(engine, vae.config, vae.weights, { tiling });
  const decoded = decoder.framesOf(source.shape[0]);
  const total = asked ?? decoded;
  let start = 0;
  for await (const pixels of decoder.decodeStream(source, hooks)) {
    const all = channelsLast(pixels);
    const frames = start === 0 ? sliceFrames(all, decoded - total, all.shape[0]) : all;
    yield { kind: "frames", start, total, frames };
    start += frames.shape[0];
  }
}

/**
 * Latent frames that were put before the clip to fill temporal patches. Clips made from text have an odd number of
 * latent frames, so an even number means that there are some.
 */
function likelyPadding(config: TransformerConfig, { shape }: HostTensor): number {
  return shape[1] % 2 === 0 ? leadingFrames(config, shape[1] - 1) : 0;
}

/** Latents `[1, F, C, h, w]` without the first `skip` frames, multiplied by `factor`: `[F - skip, C, h, w]`. */
function unscaled({ shape, data }: HostTensor, skip: number, factor: number): HostTensor {
  const [, frames, ...size] = shape;
  const kept = (data as Float32Array).subarray(skip * sizeOf(size));
  return { dtype: "f32", shape: [frames - skip, ...size], data: kept.map((x) => x * Math.fround(factor)) };
}

/** Pixels `[T, 3, H, W]` in [-1, 1] to frames `[T, H, W, 3]` in [0, 1]. */
function channelsLast({ shape, data }: HostTensor): HostTensor {
  const [frames, channels, height, width] = shape;
  const plane = height * width;
  const source = data as Float32Array;
  const out = new Float32Array(source.length);
  for (let t = 0; t < frames; t++)
    for (let c = 0; c < channels; c++)
      for (let i = 0; i < plane; i++) {
        const value = Math.fround(Math.fround(source[(t * channels + c) * plane + i] * 0.5) + 0.5);
        out[(t * plane + i) * channels + c] = value < 0 ? 0 : value > 1 ? 1 : value;
      }
  return { dtype: "f32", shape: [frames, height, width, channels], data: out };
}
