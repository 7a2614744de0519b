/** @file Tests of the VAE's posterior: how its moments are taken apart, and what is drawn from them. */
import { describe, expect, test } from "vitest";
import { ShapeError } from "../errors.ts";
import { createRng } from "./noise.ts";
import { latentsFrom, momentsFrom } from "./posterior.ts";

describe("moments", () => {
  // Two parts of 2 and 1 frames, 2 channels: means 0 to 5, log-variances 10 to 15.
  const parts = [
    { shape: [2, 4, 1, 1], data: Float32Array.of(0, 1, 10, 11, 2, 3, 12, 13) },
    { shape: [1, 4, 1, 1], data: Float32Array.of(4, 5, 14, 15) },
  ];

  test("are taken apart from what the encoder gives", () => {
    expect(momentsFrom(parts)).toEqual({
      shape: [3, 2, 1, 1],
      mean: Float32Array.of(0, 1, 2, 3, 4, 5),
      logVariance: Float32Array.of(10, 11, 12, 13, 14, 15),
    });
    expect(() => momentsFrom([])).toThrow(ShapeError);
    expect(() => momentsFrom([{ shape: [1, 3, 1, 1], data: new Float32Array(3) }])).toThrow(
      /one size, got \[1,3,1,1\]/,
    );
  });

  test("give the mean without a generator, samples of the right spread with one, afresh for every seed", () => {
    const size = 4_000;
    const logVariance = new Float32Array(size).fill(2 * Math.log(3));
    const wide = { shape: [2, 2, 20, 50], mean: new Float32Array(size).fill(1), logVariance };
    expect(latentsFrom(wide, null, 0.5)[7]).toBe(0.5);
    const samples = latentsFrom(wide, createRng(1));
    const mean = samples.reduce((sum, x) => sum + x, 0) / size;
    const variance = samples.reduce((sum, x) => sum + (x - mean) ** 2, 0) / size;
    expect(Math.abs(mean - 1)).toBeLessThan(0.15);
    expect(Math.abs(Math.sqrt(variance) - 3)).toBeLessThan(0.15);
    expect(latentsFrom(wide, createRng(1))).toEqual(samples);
    expect(latentsFrom(wide, createRng(2))).not.toEqual(samples);
  });
});
