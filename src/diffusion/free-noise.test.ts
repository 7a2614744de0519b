/** @file Reused noise: every window holds the noise of the first, and none in the same order. */
import { describe, expect, test } from "vitest";
import { ConfigError } from "../errors.ts";
import { noiseFrames, reuseNoise } from "./free-noise.ts";
import { createRng, drawNormals } from "./noise.ts";

const sorted = (values: Int32Array) => [...values].sort((a, b) => a - b);

describe("the frames whose noise is taken", () => {
  test("are their own in the first window, and one window earlier in another order behind it", () => {
    const sources = noiseFrames(40, { frames: 13, stride: 9 }, createRng(7));
    expect([...sources.slice(0, 13)]).toEqual(Array.from({ length: 13 }, (_, i) => i));
    for (const start of [13, 22]) {
      const added = sources.slice(start, start + 9);
      const before = sources.slice(start - 13, start - 4);
      expect(sorted(added)).toEqual(sorted(before));
      expect([...added]).not.toEqual([...before]);
    }
    expect(sorted(sources).every((source) => source >= 0 && source < 13)).toBe(true);
  });

  test("leave every window with each noise of the first once where the stride is the window", () => {
    const sources = noiseFrames(12, { frames: 4, stride: 4 }, createRng(1));
    for (const start of [0, 4, 8]) expect(sorted(sources.slice(start, start + 4))).toEqual([0, 1, 2, 3]);
  });

  test("follow from the seed", () => {
    const order = (seed: number) => [...noiseFrames(30, { frames: 10, stride: 5 }, createRng(seed))];
    expect(order(3)).toEqual(order(3));
    expect(order(3)).not.toEqual(order(4));
  });

  test.each([
    [0, 1],
    [4, 5],
    [4, 0],
    [4, 1.5],
  ])("are refused for windows of %d frames every %d", (frames, stride) => {
    expect(() => noiseFrames(10, { frames, stride }, createRng(0))).toThrow(ConfigError);
  });
});

test("the noise is the plain one as far as the first window goes, and copies of its frames behind", () => {
  const windows = { frames: 4, stride: 3 };
  const plain = drawNormals(createRng(5), 180);
  const noise = reuseNoise(plain, 9, windows, createRng(6));
  expect(noise.subarray(0, 80)).toEqual(plain.subarray(0, 80));
  const frame = (data: Float32Array, i: number) => data.slice(i * 20, (i + 1) * 20).join();
  const known = [0, 1, 2, 3].map((i) => frame(plain, i));
  for (let i = 4; i < 9; i++) expect(known).toContain(frame(noise, i));
  expect(reuseNoise(plain, 9, { frames: 9, stride: 3 }, createRng(6))).toEqual(plain);
});
