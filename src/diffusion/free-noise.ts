/** @file Noise for clips longer than one window: that of the first window again and again, its frames shuffled. */
import { ConfigError } from "../errors.ts";
import { nextUint32 } from "./mt19937.ts";
import type { TorchRng } from "./noise.ts";

/** How far the noise of a window goes, in latent frames. */
export type NoiseWindows = {
  /** Frames of one window; the first so many have noise of their own. */
  readonly frames: number;
  /** Frames from the beginning of one window to that of the next, 1 to `frames`. */
  readonly stride: number;
};

/**
 * For every frame of a long clip the frame of the first window whose noise it gets, after FreeNoise (Qiu et al. 2024):
 * the frames that a window adds to the one before are those that lie one window earlier, in another order. So all windows
 * begin from the same noise, which keeps what they show alike, and no two from the same order of it, which keeps the
 * clip from repeating. Orders are Fisher-Yates shuffles by `rng`.
 * @throws ConfigError for windows without frames, or a stride that leaves frames out
 */
export function noiseFrames(total: number, { frames, stride }: NoiseWindows, rng: TorchRng): Int32Array {
  if (!(Number.isInteger(frames) && Number.isInteger(stride) && stride >= 1 && stride <= frames))
    throw new ConfigError(
      `noise of ${frames} frames cannot be repeated every ${stride} frames; take 1 to ${frames}`,
    );
  const sources = Int32Array.from({ length: total }, (_, i) => i);
  for (let start = frames; start < total; start += stride) {
    const again = sources.slice(start - frames, start - frames + stride);
    shuffle(again, rng);
    sources.set(again.subarray(0, total - start), start);
  }
  return sources;
}

/**
 * Noise `[total, ...]` with that of the first window again and again: a new array. The frames of the first window stay as
 * they are; where it covers the clip, so does everything, and `rng` does not move.
 * @throws ConfigError as `noiseFrames`
 */
export function reuseNoise(
  noise: Float32Array,
  total: number,
  windows: NoiseWindows,
  rng: TorchRng,
): Float32Array {
  const size = noise.length / total;
  const reused = new Float32Array(noise.length);
  for (const [frame, source] of noiseFrames(total, windows, rng).entries())
    reused.set(noise.subarray(source * size, (source + 1) * size), frame * size);
  return reused;
}

function shuffle(values: Int32Array, rng: TorchRng): void {
  for (let i = values.length - 1; i > 0; i--) {
    const j = nextUint32(rng.twister) % (i + 1);
    [values[i], values[j]] = [values[j], values[i]];
  }
}
