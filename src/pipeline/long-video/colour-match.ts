/** @file Colours of a clip that goes on from another one, brought back to those it was to go on with. */

/** What becomes of a value of each channel: `gain * value + shift`. */
export type ColourMatch = readonly { readonly gain: number; readonly shift: number }[];

/** Most that contrast is changed by, either way; more would be a wrong measurement, as of a frame of one colour. */
const MOST = 2;

/**
 * The change that gives `frame` mean and standard deviation of `goal` in every channel (Reinhard et al. 2001, on RGB).
 * Both are `[H, W, 3]` in [0, 1], not necessarily of one size.
 */
export function matchColours(frame: Float32Array, goal: Float32Array): ColourMatch {
  return [0, 1, 2].map((channel) => {
    const [own, wanted] = [spreadOf(frame, channel), spreadOf(goal, channel)];
    const ratio = own.deviation > 0 ? wanted.deviation / own.deviation : 1;
    const gain = Math.min(MOST, Math.max(1 / MOST, ratio));
    return { gain, shift: wanted.mean - gain * own.mean };
  });
}

/** Frames `[..., 3]` with their colours changed, within [0, 1]; a new array. */
export function withColours(frames: Float32Array, match: ColourMatch): Float32Array {
  return frames.map((value, i) => {
    const { gain, shift } = match[i % 3];
    return Math.min(1, Math.max(0, gain * value + shift));
  });
}

function spreadOf(frame: Float32Array, channel: number): { mean: number; deviation: number } {
  const count = frame.length / 3;
  let sum = 0;
  for (let i = channel; i < frame.length; i += 3) sum += frame[i];
  const mean = sum / count;
  let squares = 0;
  for (let i = channel; i < frame.length; i += 3) squares += (frame[i] - mean) ** 2;
  return { mean, deviation: Math.sqrt(squares / count) };
}
