/** @file RIFLEx (Zhao et al. 2025): one temporal frequency lowered, so that clips longer than trained do not repeat. */
import { ConfigError } from "../../../errors.ts";
import type { TransformerConfig } from "../config.ts";

/** Which temporal frequency to lower, from 1, the fastest; "auto" finds it. */
export type Riflex = "auto" | number;

/** Share of its turn that the lowered frequency goes through in the whole clip, so that it surely never begins again. */
const SHARE = 0.9;

/**
 * The temporal frequencies `10000^(-2j / channels)` as they are, or with one of them lowered. The model tells times apart
 * by the slowest of its fast components, the intrinsic one: when its period ends, the clip starts again. Lowering it to
 * `0.9 · 2π / frames` lets its period outlast the clip. Where the period does so anyway, nothing changes.
 * @param frames tokens along time of the clip to make
 */
export function riflexFrequencies(
  frequencies: Float32Array,
  { k, frames }: { readonly k: number; readonly frames: number },
): Float32Array {
  if (!Number.isInteger(k) || k < 1 || k > frequencies.length)
    throw new ConfigError(
      `RIFLEx lowers temporal frequency 1 to ${frequencies.length} of this model, got ${k}`,
    );
  if (frames <= periodOf(frequencies[k - 1])) return frequencies;
  return frequencies.map((frequency, j) => (j === k - 1 ? (SHARE * 2 * Math.PI) / frames : frequency));
}

/**
 * The intrinsic component, from 1: the first whose period covers the frames of training, as the model has seen all faster
 * ones repeat. That is 2 for the released models, with a period of 20.
 * @param frames tokens along time that the model was trained on
 */
export function intrinsicComponent(frequencies: Float32Array, frames: number): number {
  const found = frequencies.findIndex((frequency) => periodOf(frequency) >= frames);
  return (found < 0 ? frequencies.length - 1 : found) + 1;
}

/** Frames after which a component has turned once, rounded. */
function periodOf(frequency: number): number {
  return Math.round((2 * Math.PI) / frequency);
}

/** A clip for RIFLEx, in tokens along time. */
export type RiflexClip = { readonly riflex: Riflex; readonly frames: number; readonly trained: number };

/** What RIFLEx makes of a model's temporal frequencies. @throws ConfigError for one that the model does not have */
export function loweredFrequencies(
  frequencies: Float32Array,
  { riflex, frames, trained }: RiflexClip,
): Float32Array {
  const k = riflex === "auto" ? intrinsicComponent(frequencies, trained) : riflex;
  return riflexFrequencies(frequencies, { k, frames });
}

/** @throws ConfigError for a model whose positions do not turn, or a frequency that it does not have */
export function requireRiflex({ rotary, headDim }: TransformerConfig, riflex: Riflex): void {
  if (!rotary)
    throw new ConfigError(
      "RIFLEx lowers a frequency of rotary positions, but this model adds sines to its tokens; leave --riflex out",
    );
  if (riflex === "auto" || (Number.isInteger(riflex) && riflex >= 1 && riflex <= headDim / 8)) return;
  throw new ConfigError(`RIFLEx lowers temporal frequency 1 to ${headDim / 8} of this model, got ${riflex}`);
}
