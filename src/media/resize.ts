/** @file Resamples 8-bit pictures as Pillow does, byte for byte: Lanczos weights in fixed point, one axis, then the other. */
import type { PixelSize, RgbImage } from "./frames.ts";

/** The part of a resized picture that is wanted. */
export type Window = PixelSize & { readonly left: number; readonly top: number };

/**
 * The picture at another size, by Lanczos resampling with three lobes, widened by the factor where it shrinks. Equals
 * `Image.resize(size, Image.LANCZOS)` of Pillow 13 for 8-bit RGB; a side that keeps its length is not touched. With a
 * window, that part of the result; the rest is not computed.
 */
export function resizeLanczos(image: RgbImage, { width, height }: PixelSize, window?: Window): RgbImage {
  const columns: Span = { of: width, from: window?.left ?? 0, count: window?.width ?? width };
  const rows: Span = { of: height, from: window?.top ?? 0, count: window?.height ?? height };
  // Between the passes pixels are bytes again, so their order shows; Pillow begins with the columns where that loses
  // more than twice as many rows as the other pass loses columns.
  const lostRows = image.height - height;
  const columnsFirst = lostRows > 0 && lostRows > 2 * (image.width - width);
  return columnsFirst
    ? resizeRows(resizeColumns(image, rows), columns)
    : resizeColumns(resizeRows(image, columns), rows);
}

/** `count` pixels from `from` on, of a side with `of` pixels. */
type Span = { readonly of: number; readonly from: number; readonly count: number };

/** Reach of the kernel in source pixels when nothing shrinks. */
const LOBES = 3;

/** Bits behind the point of a weight: a sum of 8-bit pixels times weights stays below 2^31. */
const FRACTION_BITS = 22;

/** For every output pixel the first source pixel that counts, how many do, and their fixed-point weights. */
type Taps = {
  readonly first: Int32Array;
  readonly count: Int32Array;
  /** `[outputs, most]` */
  readonly weights: Int32Array;
  readonly most: number;
};

function resizeRows(image: RgbImage, span: Span): RgbImage {
  const { rgb, width, height } = image;
  const outWidth = span.count;
  if (width === outWidth && width === span.of) return image;
  const { first, count, weights, most } = tapsOf(width, span);
  const out = new Uint8Array(outWidth * height * 3);
  for (let y = 0, at = 0; y < height; y++)
    for (let x = 0; x < outWidth; x++)
      for (let c = 0; c < 3; c++) {
        let sum = 1 << (FRACTION_BITS - 1);
        let from = (y * width + first[x]) * 3 + c;
        for (let k = x * most, end = k + count[x]; k < end; k++, from += 3) sum += rgb[from] * weights[k];
        out[at++] = toByte(sum);
      }
  return { rgb: out, width: outWidth, height };
}

function resizeColumns(image: RgbImage, span: Span): RgbImage {
  const { rgb, width, height } = image;
  const outHeight = span.count;
  if (height === outHeight && height === span.of) return image;
  const { first, count, weights, most } = tapsOf(height, span);
  const stride = width * 3;
  const out = new Uint8Array(stride * outHeight);
  for (let y = 0, at = 0; y < outHeight; y++)
    for (let i = 0; i < stride; i++) {
      let sum = 1 << (FRACTION_BITS - 1);
      let from = first[y] * stride + i;
      for (let k = y * most, end = k + count[y]; k < end; k++, from += stride) sum += rgb[from] * weights[k];
      out[at++] = toByte(sum);
    }
  return { rgb: out, width, height: outHeight };
}

function toByte(sum: number): number {
  const value = sum >> FRACTION_BITS;
  return value < 0 ? 0 : value > 255 ? 255 : value;
}

/** A side that keeps its length is copied, as a kernel of one pixel does. */
function tapsOf(size: number, { of, from, count }: Span): Taps {
  if (size !== of) return lanczosTaps(size, { of, from, count });
  return {
    first: Int32Array.from({ length: count }, (_, i) => from + i),
    count: new Int32Array(count).fill(1),
    weights: new Int32Array(count).fill(1 << FRACTION_BITS),
    most: 1,
  };
}

function lanczosTaps(size: number, { of: outSize, from, count: outputs }: Span): Taps {
  const scale = size / outSize;
  const widening = Math.max(scale, 1);
  const reach = LOBES * widening;
  const most = Math.ceil(reach) * 2 + 1;
  const taps = {
    first: new Int32Array(outputs),
    count: new Int32Array(outputs),
    weights: new Int32Array(outputs * most),
    most,
  };
  for (let i = 0; i < outputs; i++) {
    const centre = (from + i + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - reach + 0.5));
    const end = Math.min(size, Math.trunc(centre + reach + 0.5));
    const values = Array.from({ length: end - start }, (_, k) =>
      lanczos((start + k - centre + 0.5) * (1 / widening)),
    );
    const total = values.reduce((sum, value) => sum + value, 0);
    taps.first[i] = start;
    taps.count[i] = values.length;
    for (const [k, value] of values.entries()) taps.weights[i * most + k] = toFixed(value / total);
  }
  return taps;
}

/** Rounded half away from zero, as Pillow does. */
function toFixed(weight: number): number {
  return Math.trunc(weight * 2 ** FRACTION_BITS + (weight < 0 ? -0.5 : 0.5));
}

function lanczos(x: number): number {
  return x >= -LOBES && x < LOBES ? sinc(x) * sinc(x / LOBES) : 0;
}

function sinc(x: number): number {
  return x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI);
}
