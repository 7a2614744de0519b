/** @file What a mask means to the model: pixels taken out of a clip, and how much every latent is known. */
import type { Mask } from "./mask-bank.ts";

/** A clip `[T, 3, H, W]` in -1 to 1 with -1 wherever the mask covers it. */
export function maskedPixels(pixels: Float32Array, { height, width, data }: Mask): Float32Array {
  const plane = height * width;
  return pixels.map((value, i) => {
    const frame = Math.floor(i / (3 * plane));
    return data[frame * plane + (i % plane)] === 1 ? -1 : value;
  });
}

/**
 * How much every latent is known, `[L, H / 8, W / 8]`, 1 for given and 0 for to be generated: the first latent from the
 * first frame, the others from the remaining frames, by linear interpolation along every axis, as inference does it for
 * whole frames. Inference multiplies it by the VAE's scaling factor, and so must training.
 */
export function knownLatents(mask: Mask, temporalRatio = 4, spatialRatio = 8): Float32Array {
  const { frames, height, width } = mask;
  const known = Float32Array.from(mask.data, (covered) => 1 - covered);
  const plane = height * width;
  const small = { height: height / spatialRatio, width: width / spatialRatio };
  const inSpace = (from: number, to: number): Volume => {
    const volume = { data: known.subarray(from * plane, to * plane), shape: [to - from, height, width] };
    return resampled(resampled(volume, 1, small.height), 2, small.width);
  };
  const first = inSpace(0, 1).data;
  if (frames === 1) return first;
  const rest = resampled(inSpace(1, frames), 0, (frames - 1) / temporalRatio).data;
  const all = new Float32Array(first.length + rest.length);
  all.set(first);
  all.set(rest, first.length);
  return all;
}

type Volume = { readonly data: Float32Array; readonly shape: readonly number[] };

/** One axis at another length: linear between the two samples around each centre, with the ends held. */
function resampled({ data, shape }: Volume, axis: number, length: number): Volume {
  const before = shape.slice(0, axis).reduce((a, b) => a * b, 1);
  const after = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
  const old = shape[axis];
  const result = new Float32Array(before * length * after);
  for (let i = 0; i < length; i++) {
    const at = Math.max(0, ((i + 0.5) * old) / length - 0.5);
    const low = Math.min(Math.floor(at), old - 1);
    const high = Math.min(low + 1, old - 1);
    for (let b = 0; b < before; b++)
      for (let a = 0; a < after; a++) {
        const [left, right] = [data[(b * old + low) * after + a], data[(b * old + high) * after + a]];
        result[(b * length + i) * after + a] = left + (at - low) * (right - left);
      }
  }
  return { data: result, shape: shape.with(axis, length) };
}
