/** @file Which frames of a video make a clip: by the time at which they are shown, never by their number alone. */
import { ConfigError } from "../../errors.ts";
import { frameRate } from "../../media/frame-rate.ts";
import { randomSource } from "../shapes/random.ts";

/** Where in a longer video a clip lies: at its start, somewhere at random, or spread evenly over all of it. */
export const windowPolicies = ["start", "random", "uniform"] as const;
/** One of `windowPolicies`. */
export type WindowPolicy = (typeof windowPolicies)[number];

/** What a random choice depends on, and nothing else. */
export type Draw = { readonly seed: number; readonly epoch: number; readonly index: number };

/** How a clip is taken from a video. */
export type SamplingOptions = {
  readonly frames: number;
  /** Frames per second; 23.976, 29.97 and 59.94 are the exact broadcast fractions. "uniform" goes without it. */
  readonly fps: number;
  readonly window?: WindowPolicy;
  /** A video that is too short gives the most frames of the form `lengthStep * k + 1`, default 8. */
  readonly lengthStep?: number;
  /** Fills a video that is too short up with its last frame instead, which teaches a model to stand still. */
  readonly pad?: boolean;
};

/** Frames of a video that make a clip. */
export type Sampling = {
  /** Source frame of every frame of the clip, ascending. Repeats where the source is slower than `fps`. */
  readonly indices: Int32Array;
  /** When each was wanted, in seconds since the video's first frame. */
  readonly times: Float64Array;
  /** 1 for frames of the video, 0 for the padding at the end. */
  readonly valid: Uint8Array;
  /** Frames per second that the clip shows: as asked, or what "uniform" came to. */
  readonly fps: number;
};

/** Timestamps are rounded in files and in sums of theirs; below this (seconds) they are equal. */
const ROUNDING = 1e-6;

/** Tells the draws of windows from other draws with the same numbers. */
const WINDOW_DRAW = 0x77696e;

/**
 * Chooses for the k-th frame of the clip the source frame that is shown nearest to `start + k / fps`, the earlier of
 * two equally near ones. So the clip keeps its pace at any frame rate of the source, steady or not: the error of a
 * frame is at most half of the source's interval there, and errors do not add up.
 * @param times when each frame of the video is shown, ascending, see `readTimestamps`
 * @param draw for the window "random"
 * @throws ConfigError for options that are out of range, or a video without frames
 */
export function sampleFrames(times: Float64Array, options: SamplingOptions, draw?: Draw): Sampling {
  check(times, options);
  const { frames, window = "start", lengthStep = 8, pad = false } = options;
  const { num, den } = frameRate(options.fps);
  const start = window === "random" ? randomStart(times, options, draw) : times[0];
  const available = window === "uniform" ? times.length : framesFrom(times, start, options.fps);
  const taken = available >= frames || pad ? Math.min(available, frames) : longest(available, lengthStep);
  const length = times[times.length - 1] - times[0];
  const isSpread = window === "uniform" && taken > 1 && length > 0;
  const wanted = Float64Array.from({ length: pad ? frames : taken }, (_, k) => {
    const at = Math.min(k, taken - 1);
    return isSpread ? times[0] + (at * length) / (taken - 1) : start + (at * den) / num;
  });
  return {
    indices: nearest(times, wanted),
    times: wanted,
    valid: Uint8Array.from(wanted, (_, k) => (k < taken ? 1 : 0)),
    fps: isSpread ? (taken - 1) / length : num / den,
  };
}

/** Number of frames that a video has at a rate, up to half an interval behind its last frame. */
export function framesAt(times: Float64Array, fps: number): number {
  return framesFrom(times, times[0], fps);
}

/** The most frames of the form `step * k + 1` that are not more than `available`. */
function longest(available: number, step: number): number {
  return available - ((available - 1) % step);
}

function framesFrom(times: Float64Array, start: number, fps: number): number {
  const { num, den } = frameRate(fps);
  return Math.floor(((reach(times) - start) * num) / den + ROUNDING) + 1;
}

/** The latest time at which the last frame is still the nearest that a steady video would have. */
function reach(times: Float64Array): number {
  const last = times[times.length - 1];
  return times.length < 2 ? last : last + (last - times[times.length - 2]) / 2;
}

/** The time of a frame behind which there is room for the clip; of the first, where there is none. */
function randomStart(times: Float64Array, { frames, fps }: SamplingOptions, draw: Draw | undefined): number {
  if (draw === undefined) throw new ConfigError("a random window needs seed, epoch and index to draw from");
  let candidates = 1;
  while (candidates < times.length && framesFrom(times, times[candidates], fps) >= frames) candidates++;
  return times[randomSource(WINDOW_DRAW, draw.seed, draw.epoch, draw.index).int(candidates)];
}

function nearest(times: Float64Array, wanted: Float64Array): Int32Array {
  let at = 0;
  return Int32Array.from(wanted, (time) => {
    while (at + 1 < times.length && times[at + 1] <= time) at++;
    const isNextNearer = at + 1 < times.length && times[at + 1] - time < time - times[at] - ROUNDING;
    return isNextNearer ? at + 1 : at;
  });
}

function check(times: Float64Array, { frames, window = "start", lengthStep = 8 }: SamplingOptions): void {
  if (times.length === 0) throw new ConfigError("a video without frames gives no clip");
  for (const [name, value] of Object.entries({ frames, lengthStep }))
    if (!Number.isSafeInteger(value) || value < 1)
      throw new ConfigError(`${name} must be a whole number of 1 or more, got ${value}`);
  if (!windowPolicies.includes(window))
    throw new ConfigError(`window must be one of ${windowPolicies.join(", ")}, got ${window}`);
}
