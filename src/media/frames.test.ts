/** @file Tests of the conversions between floats and RGB bytes. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ShapeError } from "../errors.ts";
import { interleavedToRgb, rgbToSigned, signedToRgb } from "./frames.ts";

const onePixel = { frames: 1, height: 1, width: 1 };

describe("interleavedToRgb", () => {
  test("rounds halves to even, as numpy does", () => {
    const half = (byte: number) => Math.fround((byte + 0.5) / 255);
    expect([...interleavedToRgb(Float32Array.of(half(0), half(1), half(2)), onePixel)]).toEqual([0, 2, 2]);
  });

  test("clamps what lies outside [0, 1]", () => {
    expect([...interleavedToRgb([-0.3, 1.7, Number.POSITIVE_INFINITY], onePixel)]).toEqual([0, 255, 255]);
  });

  test("names the channel and pixel of a NaN", () => {
    const values = [0, 0, 0, 0, 0, Number.NaN];
    expect(() => interleavedToRgb(values, { frames: 1, height: 1, width: 2 })).toThrow(
      /frame 0 .* channel 2 at row 0, column 1 is NaN/,
    );
  });

  test("refuses a wrong length", () => {
    expect(() => interleavedToRgb([0, 0], onePixel)).toThrow(ShapeError);
  });
});

describe("signedToRgb", () => {
  test("moves channels from planes to pixels, a frame at a time", () => {
    const values = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11].map((byte) => byte / 127.5 - 1); // [2, 3, 1, 2]
    expect([...signedToRgb(Float32Array.from(values), { height: 1, width: 2 })]).toEqual([
      Uint8Array.of(0, 2, 4, 1, 3, 5),
      Uint8Array.of(6, 8, 10, 7, 9, 11),
    ]);
  });

  test("names the frame, channel and pixel of a NaN", () => {
    const values = new Float32Array(2 * 3 * 2 * 3);
    values[18 + 6 + 4] = Number.NaN; // frame 1, channel 1, row 1, column 1 of [2, 3, 2, 3]
    expect(() => [...signedToRgb(values, { height: 2, width: 3 })]).toThrow(
      /frame 1 .* channel 1 at row 1, column 1 is NaN/,
    );
  });
});

describe("rgbToSigned", () => {
  test("moves channels from pixels to planes in [-1, 1]", () => {
    const planes = rgbToSigned(Uint8Array.of(0, 127, 255, 51, 51, 51), { height: 1, width: 2 });
    expect(planes).toBeCloseToArray([-1, -0.6, 254 / 255 - 1, -0.6, 1, -0.6], { atol: 1e-6 });
  });

  test("is taken back by signedToRgb", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 24, maxLength: 24 }), (rgb) => {
        const size = { height: 2, width: 2 };
        expect(Buffer.concat([...signedToRgb(rgbToSigned(rgb, size), size)])).toEqual(Buffer.from(rgb));
      }),
    );
  });

  test("refuses a part of a frame", () => {
    expect(() => rgbToSigned(new Uint8Array(13), { height: 2, width: 2 })).toThrow(
      /2 RGB frames of 2x2 have 24 values, got 13/,
    );
  });
});
