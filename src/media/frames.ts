/** @file Frames between the model's floats in [0, 1] and the RGB bytes that codecs take. */
import { ShapeError } from "../errors.ts";

/** Size of a clip: `frames` F, `height` H and `width` W in pixels. */
export interface ClipSize {
  readonly frames: number;
  readonly height: number;
  readonly width: number;
}

/**
 * Planar `[3, F, H, W]` floats in [0, 1] to RGB bytes `[F, H, W, 3]`. Values outside [0, 1] are clamped; `x * 255` is
 * taken in float32 and rounded half to even, as numpy does. Throws ShapeError for a wrong length, Error for NaN.
 */
export function planarToRgb(values: ArrayLike<number>, size: ClipSize): Uint8Array {
  checkLength(values, size);
  const plane = size.frames * size.height * size.width;
  const rgb = new Uint8Array(plane * 3);
  for (let channel = 0; channel < 3; channel++) {
    for (let pixel = 0; pixel < plane; pixel++) {
      const value = values[channel * plane + pixel];
      if (Number.isNaN(value)) throw notANumber(channel, pixel, size);
      rgb[pixel * 3 + channel] = toByte(value);
    }
  }
  return rgb;
}

/** Interleaved `[F, H, W, 3]` floats in [0, 1] to RGB bytes `[F, H, W, 3]`; rounding and errors as `planarToRgb`. */
export function interleavedToRgb(values: ArrayLike<number>, size: ClipSize): Uint8Array {
  checkLength(values, size);
  const rgb = new Uint8Array(values.length);
  for (let i = 0; i < rgb.length; i++) {
    if (Number.isNaN(values[i])) throw notANumber(i % 3, Math.floor(i / 3), size);
    rgb[i] = toByte(values[i]);
  }
  return rgb;
}

/**
 * Planar frames `[F, 3, H, W]` around [-1, 1], as a VAE makes them, to RGB bytes `[H, W, 3]`, a frame at a time. Rounding
 * and errors as `planarToRgb`.
 */
export function* signedToRgb(
  values: Float32Array,
  { height, width }: Omit<ClipSize, "frames">,
): Generator<Uint8Array> {
  const size = 3 * height * width;
  for (let at = 0; at < values.length; at += size) {
    const frame = values.subarray(at, at + size).map((value) => value / 2 + 0.5);
    yield planarToRgb(frame, { frames: 1, height, width });
  }
}

/** RGB bytes `[F, H, W, 3]` to planar floats `[3, F, H, W]`, `byte / 255`. Throws ShapeError for a wrong length. */
export function rgbToPlanar(rgb: Uint8Array, size: ClipSize): Float32Array {
  checkLength(rgb, size);
  const plane = size.frames * size.height * size.width;
  const values = new Float32Array(rgb.length);
  for (let channel = 0; channel < 3; channel++)
    for (let pixel = 0; pixel < plane; pixel++)
      values[channel * plane + pixel] = rgb[pixel * 3 + channel] / 255;
  return values;
}

/** RGB bytes `[F, H, W, 3]` to floats of the same layout, `byte / 255`. Throws ShapeError for a wrong length. */
export function rgbToInterleaved(rgb: Uint8Array, size: ClipSize): Float32Array {
  checkLength(rgb, size);
  return Float32Array.from(rgb, (byte) => byte / 255);
}

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

function checkLength(values: ArrayLike<number>, { frames, height, width }: ClipSize): void {
  const expected = 3 * frames * height * width;
  if (values.length !== expected)
    throw new ShapeError(
      `${frames} RGB frames of ${width}x${height} have ${expected} values, got ${values.length}.`,
    );
}

function notANumber(channel: number, pixel: number, { height, width }: ClipSize): Error {
  const frame = Math.floor(pixel / (height * width));
  const row = Math.floor(pixel / width) % height;
  return new Error(
    `Frame ${frame} is not a picture: channel ${channel} at row ${row}, column ${pixel % width} is NaN ` +
      "instead of a number in [0, 1]; the model's output is broken (wrong weights, or float16 overflow).",
  );
}
