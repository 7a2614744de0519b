/** @file Frames between the models' floats and the RGB bytes that codecs take. */
import { ShapeError } from "../errors.ts";

/** Width W and height H in pixels. */
export type PixelSize = { readonly width: number; readonly height: number };

/** A picture: `height * width * 3` bytes, rows top-down, R G B. */
export interface RgbImage extends PixelSize {
  readonly rgb: Uint8Array;
}

/**
 * Interleaved `[F, H, W, 3]` floats in [0, 1] to RGB bytes of the same layout. Values outside [0, 1] are clamped;
 * `x * 255` is taken in float32 and rounded half to even, as numpy does. Throws ShapeError for a wrong length, Error for
 * NaN.
 */
export function interleavedToRgb(
  values: ArrayLike<number>,
  { frames, ...size }: PixelSize & { readonly frames: number },
): Uint8Array {
  if (values.length !== 3 * frames * size.height * size.width) throw wrongLength(values.length, size, frames);
  const rgb = new Uint8Array(values.length);
  for (let i = 0; i < rgb.length; i++) {
    if (Number.isNaN(values[i])) throw notANumber(i % 3, Math.floor(i / 3), size);
    rgb[i] = toByte(values[i]);
  }
  return rgb;
}

/**
 * Planar frames `[F, 3, H, W]` around [-1, 1], as a VAE makes them, to RGB bytes `[H, W, 3]`, a frame at a time. Rounding
 * and errors as `interleavedToRgb`.
 */
export function* signedToRgb(values: Float32Array, size: PixelSize): Generator<Uint8Array> {
  const plane = size.height * size.width;
  requireWholeFrames(values, size);
  for (let start = 0; start < values.length; start += 3 * plane) {
    const rgb = new Uint8Array(3 * plane);
    for (let c = 0; c < 3; c++)
      for (let i = 0; i < plane; i++) {
        const value = values[start + c * plane + i];
        if (Number.isNaN(value)) throw notANumber(c, start / 3 + i, size);
        rgb[3 * i + c] = toByte(Math.fround(value / 2 + 0.5));
      }
    yield rgb;
  }
}

/**
 * RGB bytes `[F, H, W, 3]` to planar frames `[F, 3, H, W]` in [-1, 1], as a VAE takes them. Throws ShapeError for a
 * wrong length.
 */
export function rgbToSigned(rgb: Uint8Array, size: PixelSize): Float32Array {
  requireWholeFrames(rgb, size);
  const plane = size.height * size.width;
  const values = new Float32Array(rgb.length);
  for (let start = 0; start < rgb.length; start += 3 * plane)
    for (let i = 0; i < plane; i++)
      for (let c = 0; c < 3; c++) values[start + c * plane + i] = SIGNED[rgb[start + 3 * i + c]];
  return values;
}

/** Bytes in [-1, 1], with the reference's roundings: a quotient in float32, doubled, minus one. */
const SIGNED = Float32Array.from({ length: 256 }, (_, byte) => 2 * Math.fround(byte / 255) - 1);

/** `x * 255` clamped to [0, 255] and rounded half to even; the product in float32, so that ties are numpy's ties. */
function toByte(value: number): number {
  const scaled = Math.fround(value * 255);
  if (scaled <= 0) return 0;
  if (scaled >= 255) return 255;
  const below = Math.floor(scaled);
  const rest = scaled - below;
  if (rest === 0.5) return below + (below % 2);
  return rest > 0.5 ? below + 1 : below;
}

function requireWholeFrames({ length }: ArrayLike<number>, size: PixelSize): void {
  const frame = 3 * size.height * size.width;
  if (length % frame !== 0) throw wrongLength(length, size, Math.ceil(length / frame));
}

function wrongLength(length: number, { height, width }: PixelSize, frames: number): ShapeError {
  const expected = 3 * frames * height * width;
  return new ShapeError(`${frames} RGB frames of ${width}x${height} have ${expected} values, got ${length}`);
}

/** @param pixel counted over all frames */
function notANumber(channel: number, pixel: number, { height, width }: PixelSize): Error {
  const frame = Math.floor(pixel / (height * width));
  const row = Math.floor(pixel / width) % height;
  return new Error(
    `frame ${frame} is not a picture: channel ${channel} at row ${row}, column ${pixel % width} is NaN ` +
      "instead of a number; the model's output is broken (wrong weights, or float16 overflow)",
  );
}
