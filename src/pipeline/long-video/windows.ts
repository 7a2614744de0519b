/** @file Windows along the time of a clip: where they lie, and how much each counts for a frame. */
import { ConfigError } from "../../errors.ts";
import type { TransformerConfig } from "../../models/transformer/config.ts";
import { latentFrames, paddingFrames } from "../clip-size.ts";

/** How much the frames of a window count: less towards its ends throughout, or only where windows overlap. */
export const blends = ["pyramid", "linear"] as const;
/** One of `blends`. */
export type Blend = (typeof blends)[number];

/** Windows in frames of the video. */
export type WindowOptions = {
  /** Frames of one window, 8k + 1 as those of a clip; the checkpoint's own length is best. */
  readonly frames: number;
  /** Frames that neighbours share, a multiple of 4 (CogVideoX 1.5: of 8); about a third of a window unless given. */
  readonly overlap?: number;
  /** "pyramid" unless given. */
  readonly blend?: Blend;
};

/** Windows in latent frames. */
export type Windows = {
  readonly frames: number;
  /** From the beginning of one window to that of the next. */
  readonly stride: number;
  readonly blend: Blend;
};

/**
 * Windows in latent frames: as many as a clip of the window's length has, so that the model sees what it knows.
 * @throws ConfigError for a length or an overlap that does not divide, or windows that do not advance
 */
export function windowsOf(
  config: TransformerConfig,
  { frames, overlap, blend = "pyramid" }: WindowOptions,
): Windows {
  const unit = config.temporalRatio * (config.patchT ?? 1);
  const step = 2 * config.temporalRatio;
  if (!Number.isInteger(frames) || frames < step + 1 || frames % step !== 1)
    throw new ConfigError(`a window must have ${step}k + 1 frames, at least ${step + 1}, got ${frames}`);
  const shared = overlap ?? Math.floor(frames / 3 / unit) * unit;
  if (!Number.isInteger(shared) || shared < 0 || shared % unit !== 0)
    throw new ConfigError(`the overlap of windows must be a multiple of ${unit} frames, got ${overlap}`);
  if (!blends.includes(blend))
    throw new ConfigError(`the blend of windows must be one of ${blends.join(", ")}, got ${blend}`);
  const length = latentFrames(config, frames) + paddingFrames(config, { frames });
  const stride = length - shared / config.temporalRatio;
  if (stride < 1)
    throw new ConfigError(`windows of ${frames} frames cannot share ${shared}; the overlap must be smaller`);
  return { frames: length, stride, blend };
}

/** A window of a clip: where it begins, and the share of each of its frames in the result, 0 to 1. */
export type Window = { readonly start: number; readonly shares: readonly number[] };

/**
 * The windows over `total` frames; the last one ends where the clip ends. The shares of a frame add up to 1, and are
 * exactly 1 where a frame lies in one window alone.
 */
export function windowsOver(total: number, { frames, stride, blend }: Windows): Window[] {
  const length = Math.min(frames, total);
  const starts: number[] = [];
  for (let start = 0; start + length < total; start += stride) starts.push(start);
  starts.push(total - length);
  const weight = weightOf(blend, length, length - stride);
  const sums = new Float64Array(total);
  for (const start of starts) for (let i = 0; i < length; i++) sums[start + i] += weight(i);
  return starts.map((start) => ({
    start,
    shares: Array.from({ length }, (_, i) => weight(i) / sums[start + i]),
  }));
}

function weightOf(blend: Blend, length: number, overlap: number): (i: number) => number {
  const fromEnd = (i: number) => Math.min(i, length - 1 - i) + 1;
  return blend === "pyramid" ? fromEnd : (i) => Math.min(1, fromEnd(i) / (overlap + 1));
}
