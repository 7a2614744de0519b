/** @file Single-precision log, sine and cosine with the rounding of PyTorch's AVX2 kernels (Cephes polynomials). */

const f32 = Math.fround;

// JavaScript has no fused multiply-add. In doubles a product of two float32 numbers is exact, so rounding once after
// the sum gives the fused result, but for a double rounding about once in 2^29.
const fma = (a: number, b: number, c: number): number => f32(a * b + c);

const SQRT_HALF = f32(Math.SQRT1_2);
const LN2_HIGH = f32(0.693359375);
const LN2_LOW = f32(-2.1219444e-4);
const LOG_COEFFICIENTS = [
  7.0376836292e-2, -1.151461031e-1, 1.167699874e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
  2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
].map(f32);

const FOUR_OVER_PI = f32(4 / Math.PI);
/** Minus pi / 4 in three parts, so that a multiple of it can be subtracted without cancellation. */
const MINUS_QUARTER_PI = [-0.78515625, -0.00024187564849853516, -3.774894977445941e-8].map(f32);
const SIN_COEFFICIENTS = [-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1].map(f32);
const COS_COEFFICIENTS = [2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2].map(f32);

const floatView = new Float32Array(1);
const bitView = new Uint32Array(floatView.buffer);

/** Natural logarithm of a positive normal float32. */
export function logFloat32(value: number): number {
  floatView[0] = value;
  let exponent = (bitView[0] >>> 23) - 126;
  bitView[0] = (bitView[0] & 0x007fffff) | 0x3f000000;
  let x = floatView[0]; // mantissa in [0.5, 1)
  if (x < SQRT_HALF) {
    exponent -= 1;
    x = f32(f32(x - 1) + x);
  } else {
    x = f32(x - 1);
  }
  const square = f32(x * x);
  let y = LOG_COEFFICIENTS[0];
  for (let i = 1; i < LOG_COEFFICIENTS.length; i++) y = fma(y, x, LOG_COEFFICIENTS[i]);
  y = fma(f32(y * x), square, f32(exponent * LN2_LOW));
  y = fma(-0.5, square, y);
  return fma(exponent, LN2_HIGH, f32(x + y));
}

/** Sine and cosine of a float32 angle in radians, 0 to 2 pi. */
export function sinCosFloat32(angle: number): { sin: number; cos: number } {
  const octant = (Math.trunc(f32(angle * FOUR_OVER_PI)) + 1) & ~1;
  let x = angle;
  for (const part of MINUS_QUARTER_PI) x = fma(octant, part, x);
  const square = f32(x * x);

  let c = COS_COEFFICIENTS[0];
  c = fma(c, square, COS_COEFFICIENTS[1]);
  c = f32(fma(c, square, COS_COEFFICIENTS[2]) * square);
  c = f32(fma(c, square, -f32(square * 0.5)) + 1);

  let s = SIN_COEFFICIENTS[0];
  s = fma(s, square, SIN_COEFFICIENTS[1]);
  s = f32(fma(s, square, SIN_COEFFICIENTS[2]) * square);
  s = fma(s, x, x);

  const swapped = (octant & 2) !== 0;
  const sinSign = octant & 4 ? -1 : 1;
  const cosSign = ~(octant - 2) & 4 ? -1 : 1;
  return swapped ? { sin: sinSign * c, cos: cosSign * s } : { sin: sinSign * s, cos: cosSign * c };
}
