/** @file Tests of resampling, against pictures that Pillow has resampled. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { hashUniform } from "../../test/helpers/hash-fill.ts";
import { resizeLanczos } from "./resize.ts";

type Case = { key: number; from: [number, number]; to: [number, number]; hard: boolean; rgb: string };
const { cases } = JSON.parse(readFileSync("test/fixtures/media/resize.json", "utf8")) as { cases: Case[] };

test.each(cases)("$from to $to gives Pillow's bytes", ({ key, from, to, hard, rgb }) => {
  const values = hashUniform(key, from[0] * from[1] * 3);
  const image = {
    rgb: Uint8Array.from(values, (u) => (hard ? (u < 0.5 ? 0 : 255) : Math.floor(u * 256))),
    width: from[0],
    height: from[1],
  };
  const resized = resizeLanczos(image, { width: to[0], height: to[1] });
  expect(resized).toMatchObject({ width: to[0], height: to[1] });
  expect(Buffer.from(resized.rgb).toString("base64")).toBe(rgb);
});

test("a window is that part of the whole", () => {
  const rgb = Uint8Array.from(hashUniform(1, 31 * 17 * 3), (u) => Math.floor(u * 256));
  const image = { rgb, width: 31, height: 17 };
  for (const size of [
    { width: 31, height: 9 },
    { width: 12, height: 40 },
    { width: 31, height: 17 },
  ]) {
    const whole = resizeLanczos(image, size);
    const window = { left: 3, top: 2, width: 7, height: 5 };
    const part = resizeLanczos(image, size, window);
    expect(part).toMatchObject({ width: 7, height: 5 });
    for (let y = 0; y < 5; y++) {
      const from = ((y + 2) * size.width + 3) * 3;
      expect(part.rgb.subarray(y * 21, (y + 1) * 21)).toEqual(whole.rgb.subarray(from, from + 21));
    }
  }
});
