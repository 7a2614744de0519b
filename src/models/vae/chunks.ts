/** @file How a clip is cut into chunks. The cuts are part of the numbers: norms take their statistics per chunk. */

/** Frames per chunk when encoding and latent frames per chunk when decoding, as in the reference. */
export const ENCODE_CHUNK = 8;
export const DECODE_CHUNK = 2;

/** Lengths of the chunks of `frames` frames: `size` each, with the remainder in the first one. */
export function chunkLengths(frames: number, size: number): number[] {
  const count = Math.max(Math.floor(frames / size), 1);
  const rest = frames % size;
  return Array.from({ length: count }, (_, i) => (i === 0 ? Math.min(size + rest, frames) : size));
}

/** Pixel frames that a chunk of `latentFrames` decodes to: a lone first frame is not doubled. */
export function decodedFrames(latentFrames: number, temporalLevels: number): number {
  let frames = latentFrames;
  for (let level = 0; level < temporalLevels; level++)
    if (frames > 1) frames = frames % 2 === 1 ? 2 * frames - 1 : 2 * frames;
  return frames;
}
