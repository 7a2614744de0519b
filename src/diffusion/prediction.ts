/** @file What a model's output says about the clean latents and the noise in the noisy ones. */
import type { PredictionType } from "./schedule.ts";

const f32 = Math.fround;

/** x_t = signal x_0 + sigma noise, both rounded to float32 as the reference does for float32 latents. */
export type Rates = { readonly signal: number; readonly sigma: number };

/**
 * The clean latents x_0 in float32. For v-prediction: `signal x - sigma v` (Salimans & Ho 2022, appendix D).
 * With epsilon and no signal left (zero terminal SNR) x_0 is not defined and infinities come out, as in the reference.
 */
export function predictOriginal(
  type: PredictionType,
  { signal, sigma }: Rates,
  latents: Float32Array,
  prediction: Float32Array,
): Float32Array {
  if (type === "sample") return prediction.slice();
  if (type === "epsilon") return latents.map((x, i) => f32(x - f32(sigma * prediction[i])) / signal);
  return latents.map((x, i) => f32(signal * x) - f32(sigma * prediction[i]));
}

/** The noise in the latents in float32. For v-prediction: `signal v + sigma x`. */
export function predictNoise(
  type: PredictionType,
  { signal, sigma }: Rates,
  latents: Float32Array,
  prediction: Float32Array,
): Float32Array {
  if (type === "epsilon") return prediction.slice();
  if (type === "sample") return latents.map((x, i) => f32(x - f32(signal * prediction[i])) / sigma);
  return latents.map((x, i) => f32(signal * prediction[i]) + f32(sigma * x));
}

/** What a model has to predict for `original` to come out of `predictOriginal`: its inverse. */
export function predictionFor(
  type: PredictionType,
  { signal, sigma }: Rates,
  latents: Float32Array,
  original: Float32Array,
): Float32Array {
  if (type === "sample") return original.slice();
  return latents.map((x, i) =>
    type === "epsilon"
      ? f32(x - f32(signal * original[i])) / sigma
      : f32(f32(signal * x) - original[i]) / sigma,
  );
}

/** Limits every element to -range ... range; a new array. */
export function clamp(values: Float32Array, range: number): Float32Array {
  const limit = f32(range);
  return values.map((value) => Math.min(Math.max(value, -limit), limit));
}
