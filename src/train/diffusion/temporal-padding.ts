/** @file Latent frames for temporal patches: the first one repeated until the patches come out even. */
import { concat } from "../../graph/functions.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { type LatentSize, leadingFrames } from "../../models/transformer/grid.ts";

/** The size of latents once their first frame has been repeated. */
export function paddedSize<S extends LatentSize>(size: S, patchT: number | null): S {
  return { ...size, frames: size.frames + leadingFrames({ patchT }, size.frames) };
}

/**
 * Latents `[B, F, ...]` with the first frame repeated at the front until F divides into temporal patches. An image
 * becomes a clip of one patch.
 */
export function padFront(latents: Tensor, patchT: number | null): Tensor {
  const count = leadingFrames({ patchT }, latents.dim(1));
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
