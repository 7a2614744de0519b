/** @file Latent frames for temporal patches: the first one repeated until the patches come out even. */
import { concat } from "../../graph/functions.ts";
import type { Tensor } from "../../graph/tensor.ts";
import type { LatentSize } from "../../models/transformer/grid.ts";

/** How often the first latent frame is repeated before `frames` frames, 0 to patchT - 1. */
export function repeatedFrames(frames: number, patchT: number | null): number {
  const patch = patchT ?? 1;
  return (patch - (frames % patch)) % patch;
}

/** The size of latents once their first frame has been repeated. */
export function paddedSize<S extends LatentSize>(size: S, patchT: number | null): S {
  return { ...size, frames: size.frames + repeatedFrames(size.frames, patchT) };
}

/**
 * Latents `[B, F, ...]` with the first frame repeated at the front until F divides into temporal patches. An image
 * becomes a clip of one patch.
 */
export function padFront(latents: Tensor, patchT: number | null): Tensor {
  const count = repeatedFrames(latents.dim(1), patchT);
  const first = latents.slice(1, 0, 1);
  return concat([...Array<Tensor>(count).fill(first), latents], 1);
}

/** `padFront` for the values of one sample, `[F, ...]` with F = `frames`, to as many frames as `padded`. */
export function padFrames(values: Float32Array, frames: number, padded: number): Float32Array {
  const frame = values.length / frames;
  const all = new Float32Array(padded * frame);
  for (let i = 0; i < padded - frames; i++) all.set(values.subarray(0, frame), i * frame);
  all.set(values, (padded - frames) * frame);
  return all;
}

/** The inverse of `padFront`: the last `frames` frames. */
export function dropFront(padded: Tensor, frames: number): Tensor {
  const count = padded.dim(1) - frames;
  return count === 0 ? padded : padded.slice(1, count);
}
