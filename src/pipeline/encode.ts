/** @file Pixels to latents, through the VAE's encoder. */
import { drawNormals, type TorchRng } from "../diffusion/noise.ts";
import { sizeOf } from "../graph/shape.ts";
import type { TilingOptions } from "../models/vae/tiling.ts";
import type { Engine } from "../runtime/engine.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { framesFirst } from "./clip-layout.ts";
import type { RunHooks } from "./run-hooks.ts";
import { VideoEncoder } from "./video-encoder.ts";

const f32 = Math.fround;

export type EncodeOptions = RunHooks & {
  /** Draws a sample of the latents' distribution; its mean is taken without a generator. */
  readonly rng?: TorchRng;
  /** Overlapping spatial tiles: less memory, slightly different latents. */
  readonly tiling?: boolean | TilingOptions;
};

/** Pixels `[T, 3, H, W]` in [-1, 1] to latents `[F, L, h, w]`, not scaled. */
export async function encodePixels(
  engine: Engine,
  { vae }: Pick<Checkpoint, "vae">,
  pixels: HostTensor,
  { rng, tiling = false, ...hooks }: EncodeOptions = {},
): Promise<HostTensor> {
  const encoder = new VideoEncoder(engine, vae.config, vae.weights, { tiling });
  const parts: HostTensor[] = [];
  for await (const moments of encoder.encodeStream(pixels, hooks)) parts.push(moments);
  await engine.trim();
  return latentsOf(parts, rng);
}

/** Latents times a factor, in float32. */
export function scaledBy({ shape, data }: HostTensor, factor: number): HostTensor {
  return { dtype: "f32", shape, data: (data as Float32Array).map((x) => x * f32(factor)) };
}

/**
 * The mean of every latent, or a sample: `mean + exp(logvar / 2) n`. The reference draws the noise in the VAE's layout
 * `[L, F, h, w]`, while moments `[F, 2L, h, w]` and latents have frames first.
 */
function latentsOf(parts: readonly HostTensor[], rng: TorchRng | undefined): HostTensor {
  const { shape, mean, logVariance } = momentsOf(parts);
  if (rng === undefined) return { dtype: "f32", shape, data: mean };
  const [frames, channels, ...plane] = shape;
  const drawn = {
    dtype: "f32" as const,
    shape: [channels, frames, ...plane],
    data: drawNormals(rng, mean.length),
  };
  const noise = framesFirst(drawn).data as Float32Array;
  return { dtype: "f32", shape, data: mean.map((x, i) => x + f32(deviationOf(logVariance[i]) * noise[i])) };
}

/** Moments `[Fi, 2L, h, w]` one after the other, as means and log-variances of `shape [F, L, h, w]`. */
function momentsOf(parts: readonly HostTensor[]) {
  const [, twice, height, width] = parts[0].shape;
  const frames = parts.reduce((total, { shape }) => total + shape[0], 0);
  const shape = [frames, twice / 2, height, width];
  const [mean, logVariance] = [new Float32Array(sizeOf(shape)), new Float32Array(sizeOf(shape))];
  const half = sizeOf(shape.slice(1));
  let at = 0;
  for (const { data } of parts)
    for (let start = 0; start < data.length; start += 2 * half, at += half) {
      mean.set((data as Float32Array).subarray(start, start + half), at);
      logVariance.set((data as Float32Array).subarray(start + half, start + 2 * half), at);
    }
  return { shape, mean, logVariance };
}

/** Standard deviation from a log-variance, which the reference keeps in -30 to 20. */
function deviationOf(logVariance: number): number {
  return f32(Math.exp(f32(0.5 * Math.min(20, Math.max(-30, logVariance)))));
}
