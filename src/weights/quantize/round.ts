/** @file Rounds a matrix to 8 or 4 bits with scales. */
import { blockFor, type Quantization } from "./format.ts";

/** A quantised matrix: its numbers and their scales, laid out as `quantizedLayouts` says. */
export type Rounded = { readonly weight: Int8Array | Uint8Array; readonly scale: Float32Array };

/** Rounds a matrix `[out, in]` in row-major order. Deterministic: the same values give the same bytes everywhere. */
export function roundMatrix(values: Float32Array, out: number, quantization: Quantization): Rounded {
  const width = values.length / out;
  if (quantization === "int8") return roundToBytes(values, out, width);
  return roundToBlocks(values, out, width, quantization);
}

/** One scale per output, weights in -127 ... 127, turned to `[in, out]` as the engine multiplies them. */
function roundToBytes(values: Float32Array, out: number, width: number): Rounded {
  const weight = new Int8Array(values.length);
  const scale = new Float32Array(out);
  for (let o = 0; o < out; o++) {
    const row = values.subarray(o * width, (o + 1) * width);
    const step = Math.fround(largest(row, 0, width) / 127);
    scale[o] = step;
    const factor = step === 0 ? 0 : 1 / step;
    for (let i = 0; i < width; i++) weight[i * out + o] = toWhole(row[i] * factor, -127, 127);
  }
  return { weight, scale };
}

/**
 * A scale per block of a row. The element that is furthest from zero gets the lowest number of the range, which is
 * one step further out than the highest: no number goes unused. With 4 bits a slightly smaller or larger step may fit
 * the whole block better, so a few are tried.
 */
function roundToBlocks(values: Float32Array, out: number, width: number, quantization: "w8" | "w4"): Rounded {
  const block = blockFor(width, quantization);
  const blocks = Math.ceil(width / block);
  const scale = new Float32Array(out * blocks);
  const bytes = quantization === "w8" ? block : block / 2;
  const weight = new Uint8Array(out * blocks * bytes).fill(quantization === "w8" ? 0x80 : 0x88);
  const middle = quantization === "w8" ? 128 : 8;
  for (let o = 0; o < out; o++)
    for (let b = 0; b < blocks; b++) {
      const part = values.subarray(o * width + b * block, o * width + Math.min((b + 1) * block, width));
      const step = quantization === "w8" ? stepFor(part, middle) : bestStep(part, middle);
      scale[o * blocks + b] = step;
      const factor = step === 0 ? 0 : 1 / step;
      const start = (o * blocks + b) * bytes;
      for (let i = 0; i < part.length; i++) {
        const whole = toWhole(part[i] * factor, -middle, middle - 1) + middle;
        if (quantization === "w8") weight[start + i] = whole;
        else if (i % 2 === 0) weight[start + (i >> 1)] = (weight[start + (i >> 1)] & 0xf0) | whole;
        else weight[start + (i >> 1)] = (weight[start + (i >> 1)] & 0x0f) | (whole << 4);
      }
    }
  return { weight, scale };
}

/** Steps that are tried with 4 bits, as parts of the one that just reaches the outermost element. */
const STEP_FACTORS = [1, 0.94, 0.88, 1.07, 0.82];

function bestStep(part: Float32Array, middle: number): number {
  const reach = stepFor(part, middle);
  let best = reach;
  let least = Number.POSITIVE_INFINITY;
  if (reach === 0) return reach;
  for (const factor of STEP_FACTORS) {
    const step = Math.fround(reach * factor);
    let error = 0;
    for (let i = 0; i < part.length; i++) {
      const off = toWhole(part[i] / step, -middle, middle - 1) * step - part[i];
      error += off * off;
    }
    if (error < least) {
      least = error;
      best = step;
    }
  }
  return best;
}

function stepFor(part: Float32Array, middle: number): number {
  let outermost = 0;
  for (let i = 0; i < part.length; i++) if (Math.abs(part[i]) > Math.abs(outermost)) outermost = part[i];
  return Math.fround(-outermost / middle);
}

function largest(row: Float32Array, start: number, end: number): number {
  let most = 0;
  for (let i = start; i < end; i++) most = Math.max(most, Math.abs(row[i]));
  return most;
}

function toWhole(value: number, least: number, most: number): number {
  const whole = Math.round(value);
  return whole < least ? least : whole > most ? most : whole;
}
