/** @file Tests of the 16-bit float conversions. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { bf16ToFloats, f16ToFloats, floatsToBf16, floatsToF16 } from "./cast.ts";

const allBits = Uint16Array.from({ length: 65_536 }, (_, i) => i);
const kinds = [
  { kind: "bfloat16", widen: bf16ToFloats, narrow: floatsToBf16, infinity: 0x7f80 },
  { kind: "half", widen: f16ToFloats, narrow: floatsToF16, infinity: 0x7c00 },
] as const;

describe.each(kinds)("$kind", ({ widen, narrow, infinity }) => {
  test("comes back with the same bits for all numbers, signed zeros and infinities", () => {
    const back = narrow(widen(allBits));
    const differing = allBits.filter((bits) => (bits & 0x7fff) <= infinity && back[bits] !== bits);
    expect(differing).toEqual(new Uint16Array(0));
  });

  test("keeps every NaN a NaN of the same sign", () => {
    const nans = allBits.filter((bits) => (bits & 0x7fff) > infinity);
    const floats = widen(nans);
    expect(floats.every(Number.isNaN)).toBe(true);
    const back = narrow(floats);
    expect(back.every((bits, i) => (bits & 0x7fff) > infinity && bits >>> 15 === nans[i] >>> 15)).toBe(true);
  });

  test("keeps a NaN whose payload lies only in the lower bits", () => {
    const floats = new Float32Array(new Uint32Array([0x7f80_0001, 0xff80_0001]).buffer);
    expect(widen(narrow(floats)).every(Number.isNaN)).toBe(true);
  });

  test("rounds to the nearest value, ties to the even bit pattern", () => {
    const magnitudes = widen(allBits.slice(0, infinity));
    fc.assert(
      fc.property(fc.float({ noNaN: true, min: 0, max: magnitudes[infinity - 1] }), (value) => {
        const [bits] = narrow(Float32Array.of(value));
        expect(narrow(Float32Array.of(-value))[0]).toBe(bits | 0x8000);
        const distance = Math.abs(magnitudes[bits] - value);
        for (const neighbour of [bits - 1, bits + 1]) {
          const other = Math.abs((magnitudes[neighbour] ?? Number.POSITIVE_INFINITY) - value);
          expect(other > distance || (other === distance && bits % 2 === 0)).toBe(true);
        }
      }),
      { numRuns: 5_000 },
    );
  });

  test("rounds every midpoint between neighbours to the even one", () => {
    const magnitudes = widen(allBits.slice(0, infinity));
    const middles = magnitudes.slice(1).map((upper, i) => magnitudes[i] + (upper - magnitudes[i]) / 2);
    const rounded = narrow(middles);
    expect(rounded.every((bits, i) => bits === i + (i % 2))).toBe(true);
  });

  test("converts into the beginning of a longer array", () => {
    const into = new Float32Array(4).fill(9);
    expect(widen(narrow(Float32Array.of(1, -2)), into)).toBe(into);
    expect(into).toEqual(Float32Array.of(1, -2, 9, 9));
  });
});

test("overflows to infinity from the midpoint above the largest value", () => {
  expect(floatsToF16(Float32Array.of(65_504, 65_519, 65_520, -1e9))).toEqual(
    Uint16Array.of(0x7bff, 0x7bff, 0x7c00, 0xfc00),
  );
  const top = new Float32Array(new Uint32Array([0x7f7f_7fff, 0x7f7f_8000]).buffer);
  expect(floatsToBf16(top)).toEqual(Uint16Array.of(0x7f7f, 0x7f80));
});

test("rounds the smallest floats to zero or the smallest half", () => {
  const tiny = Float32Array.of(2 ** -149, 2 ** -25, 2 ** -25 * 1.0001, 2 ** -24 * 1.5, 2 ** -14);
  expect(floatsToF16(tiny)).toEqual(Uint16Array.of(0, 0, 1, 2, 0x400));
});
