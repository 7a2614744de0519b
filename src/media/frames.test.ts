/** @file Tests of the conversions between floats and RGB bytes. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ShapeError } from "../errors.ts";
import { interleavedToRgb, planarToRgb, rgbToInterleaved, rgbToPlanar } from "./frames.ts";

const onePixel = { frames: 1, height: 1, width: 1 };

describe("planarToRgb", () => {
  test("moves channels from planes to pixels", () => {
    const values = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11].map((byte) => byte / 255); // [3, 2, 1, 2]
    expect([...planarToRgb(values, { frames: 2, height: 1, width: 2 })]).toEqual([
      0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11,
    ]);
  });

  test("rounds halves to even, as numpy does", () => {
    const half = (byte: number) => Math.fround((byte + 0.5) / 255);
    expect([...planarToRgb(Float32Array.of(half(0), half(1), half(2)), onePixel)]).toEqual([0, 2, 2]);
  });

  test("clamps what lies outside [0, 1]", () => {
    expect([...planarToRgb([-0.3, 1.7, Number.POSITIVE_INFINITY], onePixel)]).toEqual([0, 255, 255]);
  });

  test("names the frame, channel and pixel of a NaN", () => {
    const values = new Float32Array(3 * 2 * 2 * 3);
    values[12 + 6 + 4] = Number.NaN; // channel 1, frame 1, row 1, column 1 of [3, 2, 2, 3]
    expect(() => planarToRgb(values, { frames: 2, height: 2, width: 3 })).toThrow(
      /Frame 1 .* channel 1 at row 1, column 1 is NaN/,
    );
  });

  test("refuses a wrong length", () => {
    expect(() => planarToRgb([0, 0], onePixel)).toThrow(ShapeError);
  });
});

test("bytes survive the way to floats and back in both layouts", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 24, maxLength: 24 }), (rgb) => {
      const size = { frames: 2, height: 2, width: 2 };
      expect(planarToRgb(rgbToPlanar(rgb, size), size)).toEqual(rgb);
      expect(interleavedToRgb(rgbToInterleaved(rgb, size), size)).toEqual(rgb);
    }),
  );
});

test("an interleaved NaN is named as in the planar layout", () => {
  const values = [0, 0, 0, 0, 0, Number.NaN];
  expect(() => interleavedToRgb(values, { frames: 1, height: 1, width: 2 })).toThrow(
    /Frame 0 .* channel 2 at row 0, column 1/,
  );
});
