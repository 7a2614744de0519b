/** @file Image to video: how noisy first frames are, how their latents are scaled, and which samples do without. */
import { drawNormals } from "../../diffusion/noise.ts";
import { drawUniform, rngFor } from "./random.ts";
import { type DropoutDraw, kept } from "./text-dropout.ts";

/**
 * How the conditioning latents are scaled: by the VAE's scaling factor like all others ("scaled", CogVideoX 1.0), not
 * at all ("raw", the 1.5 models as they were trained; image-to-video calls it "unscaled"), or by its reciprocal
 * ("inverted", 1.5 as other implementations run it).
 */
export const conditionScales = ["scaled", "raw", "inverted"] as const;
/** One of `conditionScales`. */
export type ConditionScale = (typeof conditionScales)[number];

/** Noise of the first frame in log space: sigma = exp(N(mean, deviation)), median 0.05. */
const LOG_SIGMA = { mean: -3, deviation: 0.5 };

/** What each sample's first frame is blurred with: one sigma per sample, log-normal, 0.022 to 0.113 in 90 % of cases. */
export function imageNoiseSigmas(
  { seed, step }: { readonly seed: number; readonly step: number },
  first: number,
  count: number,
): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => {
    const rng = rngFor(seed, "image noise", step, first + i);
    const normal = Math.sqrt(-2 * Math.log(1 - drawUniform(rng))) * Math.cos(2 * Math.PI * drawUniform(rng));
    return Math.exp(LOG_SIGMA.mean + LOG_SIGMA.deviation * normal);
  });
}

/** Pixels with the noise of a sample, drawn for a purpose. @param place of the sample in its step */
export function withImageNoise(
  pixels: Float32Array,
  purpose: string,
  { seed, step }: { readonly seed: number; readonly step: number },
  place: number,
): Float32Array {
  const [sigma] = imageNoiseSigmas({ seed, step }, place, 1);
  const noise = drawNormals(rngFor(seed, purpose, step, place), pixels.length);
  return pixels.map((value, i) => value + sigma * noise[i]);
}

/** 1 where the image of a sample stays and 0 where it is dropped, sample by sample; see `keptText`. */
export function keptImages(draw: DropoutDraw, first: number, count: number): Float32Array {
  return kept("image dropout", draw, first, count);
}

/** What latents straight from the encoder are multiplied by to become conditioning. */
export function conditionFactor(scale: ConditionScale, scalingFactor: number): number {
  if (scale === "raw") return 1;
  return scale === "scaled" ? scalingFactor : 1 / scalingFactor;
}
