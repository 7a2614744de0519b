/** @file Pixels to latents, through the VAE's encoder. */
import type { TorchRng } from "../diffusion/noise.ts";
import { latentsFrom, momentsFrom } from "../diffusion/posterior.ts";
import type { TilingOptions } from "../models/vae/tiling.ts";
import type { Engine } from "../runtime/engine.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import type { Checkpoint } from "./checkpoint.ts";
import type { RunHooks } from "./run-hooks.ts";
import { VideoEncoder } from "./video-encoder.ts";

const f32 = Math.fround;

/** How pixels are encoded. */
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
  const parts: { shape: readonly number[]; data: Float32Array }[] = [];
  for await (const { shape, data } of encoder.encodeStream(pixels, hooks))
    parts.push({ shape, data: data as Float32Array });
  await engine.trim();
  const moments = momentsFrom(parts);
  return { dtype: "f32", shape: moments.shape, data: latentsFrom(moments, rng ?? null) };
}

/** Latents times a factor, in float32. */
export function scaledBy({ shape, data }: HostTensor, factor: number): HostTensor {
  return { dtype: "f32", shape, data: (data as Float32Array).map((x) => x * f32(factor)) };
}
