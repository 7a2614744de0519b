/** @file Pixels to latents, through the VAE's encoder. */
import { drawNormals, type TorchRng } from "../diffusion/noise.ts";
import { sizeOf } from "../graph/shape.ts";
import type { Engine } from "../runtime/engine.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import type { Checkpoint } from "./checkpoint.ts";
import type { RunHooks } from "./run-hooks.ts";
import { VideoEncoder } from "./video-encoder.ts";

const f32 = Math.fround;

export type EncodeOptions = RunHooks & {
  /** Draws a sample of the latents' distribution; its mean is taken without a generator. */
  readonly rng?: TorchRng;
  /** Overlapping spatial tiles: less memory, slightly different latents. */
  readonly tiling?: boolean;
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
  const frames = parts.reduce((total, { shape }) => total + shape[0], 0);
  const [, twice, height, width] = parts[0].shape;
  const [channels, plane] = [twice / 2, height * width];
  const shape = [frames, channels, height, width];
  const noise = rng && drawNormals(rng, sizeOf(shape));
  const out = new Float32Array(sizeOf(shape));
  let frame = 0;
  for (const part of parts) {
    const data = part.data as Float32Array;
    for (let f = 0; f < part.shape[0]; f++, frame++)
      for (let c = 0; c < channels; c++)
        for (let i = 0; i < plane; i++) {
          const mean = data[(f * twice + c) * plane + i];
          const at = (frame * channels + c) * plane + i;
          if (noise === undefined) out[at] = mean;
          else {
            const deviation = deviationOf(data[(f * twice + channels + c) * plane + i]);
            out[at] = mean + f32(deviation * noise[(c * frames + frame) * plane + i]);
          }
        }
  }
  return { dtype: "f32", shape, data: out };
}

/** Standard deviation from a log-variance, which the reference keeps in -30 to 20. */
function deviationOf(logVariance: number): number {
  return f32(Math.exp(f32(0.5 * Math.min(20, Math.max(-30, logVariance)))));
}
