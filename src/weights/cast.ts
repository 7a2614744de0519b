/** @file Converts between float32 and the two 16-bit float formats, given as bit patterns. */

// Each function views floats as their bits; typed arrays of one buffer do that without a copy.

/** bfloat16 bit patterns to float32: exact. `into` may be longer than `bits`. */
export function bf16ToFloats(bits: Uint16Array, into = new Float32Array(bits.length)): Float32Array {
  const words = new Uint32Array(into.buffer, into.byteOffset, bits.length);
  for (let i = 0; i < bits.length; i++) words[i] = bits[i] << 16;
  return into;
}

/** float32 to bfloat16 bit patterns: nearest, ties to even, overflow to infinity, NaN stays NaN (quiet). */
export function floatsToBf16(values: Float32Array): Uint16Array {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const bits = new Uint16Array(values.length);
  for (let i = 0; i < words.length; i++) {
    const word = words[i];
    const isNaNWord = (word & 0x7fff_ffff) > 0x7f80_0000;
    // The quiet bit is set so that a payload which lies in the lower half does not become infinity.
    bits[i] = isNaNWord ? (word >>> 16) | 0x40 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  }
  return bits;
}

/** IEEE half bit patterns to float32: exact. `into` may be longer than `bits`. */
export function f16ToFloats(bits: Uint16Array, into = new Float32Array(bits.length)): Float32Array {
  const table = (halfWords ??= makeHalfWords());
  const words = new Uint32Array(into.buffer, into.byteOffset, bits.length);
  for (let i = 0; i < bits.length; i++) words[i] = table[bits[i]];
  return into;
}

/** float32 to IEEE half bit patterns: nearest, ties to even, overflow to infinity, NaN stays NaN (quiet). */
export function floatsToF16(values: Float32Array): Uint16Array {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const bits = new Uint16Array(values.length);
  for (let i = 0; i < words.length; i++)
    bits[i] = ((words[i] >>> 16) & 0x8000) | halfMagnitude(words[i] & 0x7fff_ffff);
  return bits;
}

/** The float32 bits of all 65,536 halves, made when first needed (256 KiB). */
let halfWords: Uint32Array | undefined;

function makeHalfWords(): Uint32Array {
  return Uint32Array.from({ length: 65_536 }, (_, half) => {
    const sign = (half & 0x8000) << 16;
    const exponent = (half >>> 10) & 31;
    const fraction = half & 1023;
    if (exponent === 31) return sign | 0x7f80_0000 | (fraction << 13);
    if (exponent > 0) return sign | ((exponent + 112) << 23) | (fraction << 13);
    if (fraction === 0) return sign;
    // Below the normal range: shift the leading one to where float32 leaves it out.
    const shift = Math.clz32(fraction) - 21;
    return sign | ((113 - shift) << 23) | (((fraction << shift) & 1023) << 13);
  });
}

/** The half that is nearest to a float32 without its sign, both as bits. */
function halfMagnitude(word: number): number {
  if (word > 0x7f80_0000) return 0x7e00 | ((word >>> 13) & 0x3ff);
  if (word >= 0x477f_f000) return 0x7c00; // 65520 and above round to infinity
  if (word >= 0x3880_0000) return (word - 0x3800_0000 + 0xfff + ((word >>> 13) & 1)) >>> 13;
  if (word <= 0x3300_0000) return 0; // 2^-25 is halfway to the smallest half, and zero is even
  const shift = 126 - (word >>> 23);
  const mantissa = (word & 0x7f_ffff) | 0x80_0000;
  const half = mantissa >>> shift;
  const rest = mantissa & ((1 << shift) - 1);
  const middle = 1 << (shift - 1);
  return rest > middle || (rest === middle && half & 1) ? half + 1 : half;
}
