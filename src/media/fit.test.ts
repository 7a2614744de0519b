/** @file Tests of the ways to bring a picture to another shape. */
import { describe, expect, test } from "vitest";
import { fitImage } from "./fit.ts";
import type { RgbImage } from "./frames.ts";

/** Columns of grey, one value each. */
const columns = (values: readonly number[], height: number): RgbImage => ({
  width: values.length,
  height,
  rgb: Uint8Array.from(
    { length: values.length * height * 3 },
    (_, i) => values[Math.floor(i / 3) % values.length],
  ),
});

/** The first row's values. */
const row = ({ rgb, width }: RgbImage) => Array.from({ length: width }, (_, x) => rgb[x * 3]);

describe("crop", () => {
  test("cuts what sticks out at both sides alike", () => {
    const wide = columns([9, 10, 20, 30, 40, 9], 4);
    expect(row(fitImage(wide, { width: 4, height: 4 }, "crop"))).toEqual([10, 20, 30, 40]);
  });

  test("fills the clip whatever the shape", () => {
    for (const [width, height] of [
      [1, 500],
      [500, 1],
      [3, 2],
      [2, 3],
    ]) {
      const white = columns(Array(width).fill(255), height);
      const fitted = fitImage(white, { width: 16, height: 16 }, "crop");
      expect(fitted).toMatchObject({ width: 16, height: 16 });
      expect(fitted.rgb.every((byte) => byte === 255)).toBe(true);
    }
  });
});

describe("pad", () => {
  test("shows everything, with black beside it", () => {
    const tall = columns([50, 60], 4);
    expect(row(fitImage(tall, { width: 4, height: 4 }, "pad"))).toEqual([0, 50, 60, 0]);
  });

  test("keeps at least a line of the thinnest picture", () => {
    const line = columns(Array(1000).fill(200), 1);
    const { rgb } = fitImage(line, { width: 16, height: 16 }, "pad");
    expect(rgb.some((byte) => byte === 200)).toBe(true);
  });
});

test("stretch uses the whole picture for the whole clip", () => {
  const { rgb, width, height } = fitImage(columns([0, 255], 9), { width: 2, height: 16 }, "stretch");
  expect([width, height, rgb[0], rgb[3]]).toEqual([2, 16, 0, 255]);
});

test("a picture of the clip's size stays as it is", () => {
  const image = columns([1, 2, 3, 4], 4);
  for (const fit of ["crop", "pad", "stretch"] as const)
    expect(fitImage(image, { width: 4, height: 4 }, fit).rgb).toEqual(image.rgb);
});
