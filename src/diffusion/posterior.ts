/** @file The posterior of the VAE: its moments apart, and latents drawn from it. */
// F latent frames, C latent channels, H and W latent height and width
import { ShapeError } from "../errors.ts";
import { drawNormals, type TorchRng } from "./noise.ts";

const f32 = Math.fround;

/** A normal distribution for every latent, unscaled. */
export type Moments = {
  /** `[F, C, H, W]` */
  readonly shape: readonly number[];
  readonly mean: Float32Array;
  readonly logVariance: Float32Array;
};

/** What an encoder gives of some frames, `[F, 2 C, H, W]`. */
type Part = { readonly shape: readonly number[]; readonly data: Float32Array };

/**
 * The moments in what the encoder gives: parts `[F, 2 C, H, W]` one after the other, means before log-variances.
 * @throws ShapeError for no parts, parts of several sizes, or an odd number of channels
 */
export function momentsFrom(parts: readonly Part[]): Moments {
  const [, twice, height, width] = parts[0]?.shape ?? [];
  const isLike = ({ shape }: Part) =>
    shape.length === 4 && `${shape.slice(1)}` === `${[twice, height, width]}`;
  if (parts.length === 0 || twice % 2 !== 0 || !parts.every(isLike))
    throw new ShapeError(
      `moments must be parts [F, 2 C, H, W] of one size, got ${parts.map(({ shape }) => `[${shape}]`).join(", ") || "none"}`,
    );
  const frames = parts.reduce((sum, { shape }) => sum + shape[0], 0);
  const half = (twice / 2) * height * width;
  const mean = new Float32Array(frames * half);
  const logVariance = new Float32Array(frames * half);
  let at = 0;
  for (const { data } of parts)
    for (let from = 0; from < data.length; from += 2 * half, at += half) {
      mean.set(data.subarray(from, from + half), at);
      logVariance.set(data.subarray(from + half, from + 2 * half), at);
    }
  return { shape: [frames, twice / 2, height, width], mean, logVariance };
}

/**
 * Latents `[F, C, H, W]` times `factor`: a sample of the posterior, `mean + exp(logvar / 2) n`, or its mean without a
 * generator. The reference draws the noise in the VAE's layout `[C, F, H, W]` and keeps log-variances in -30 to 20.
 */
export function latentsFrom(
  { shape, mean, logVariance }: Moments,
  rng: TorchRng | null,
  factor = 1,
): Float32Array {
  const [frames, channels, height, width] = shape;
  const plane = height * width;
  const noise = rng === null ? null : drawNormals(rng, mean.length);
  const latents = new Float32Array(mean.length);
  for (let i = 0; i < latents.length; i++) {
    let value = mean[i];
    if (noise !== null) {
      const frame = Math.floor(i / (channels * plane));
      const channel = Math.floor(i / plane) % channels;
      const deviation = f32(Math.exp(f32(0.5 * Math.min(20, Math.max(-30, logVariance[i])))));
      value = f32(value + f32(deviation * noise[(channel * frames + frame) * plane + (i % plane)]));
    }
    latents[i] = value * f32(factor);
  }
  return latents;
}
