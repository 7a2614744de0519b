/** @file Windows cover every frame, share what they overlap, and change nothing where there is one alone. */
import { describe, expect, test } from "vitest";
import { transformerConfigs } from "../../../test/helpers/released-models.ts";
import { parseTransformerConfig } from "../../models/transformer/config.ts";
import { type Windows, windowsOf, windowsOver } from "./windows.ts";

const configOf = (name: keyof typeof transformerConfigs) =>
  parseTransformerConfig(transformerConfigs[name], "config.json");

describe("in latent frames", () => {
  test("a window is a clip of its length, and a third is shared unless told otherwise", () => {
    expect(windowsOf(configOf("5b"), { frames: 49 })).toEqual({ frames: 13, stride: 9, blend: "pyramid" });
    expect(windowsOf(configOf("5b"), { frames: 49, overlap: 0, blend: "linear" })).toEqual({
      frames: 13,
      stride: 13,
      blend: "linear",
    });
    expect(windowsOf(configOf("1.5-5B"), { frames: 81 })).toEqual({
      frames: 22,
      stride: 16,
      blend: "pyramid",
    });
  });

  test.each([
    [{ frames: 48 }, /must have 8k \+ 1 frames, at least 9, got 48/],
    [{ frames: 1 }, /at least 9, got 1/],
    [{ frames: 49, overlap: 6 }, /multiple of 4 frames, got 6/],
    [{ frames: 49, overlap: -4 }, /multiple of 4 frames, got -4/],
    [{ frames: 9, overlap: 12 }, /windows of 9 frames cannot share 12/],
    [{ frames: 9, blend: "cosine" as "linear" }, /must be one of pyramid, linear, got cosine/],
  ])("%j is refused", (options, says) => {
    expect(() => windowsOf(configOf("5b"), options)).toThrow(says);
  });
});

describe("over a clip", () => {
  const over = (total: number, change: Partial<Windows> = {}) =>
    windowsOver(total, { frames: 13, stride: 9, blend: "pyramid", ...change });

  test("begin a stride apart, and the last one ends with the clip", () => {
    expect(over(25).map(({ start }) => start)).toEqual([0, 9, 12]);
    expect(over(22).map(({ start }) => start)).toEqual([0, 9]);
    expect(over(14, { stride: 13 }).map(({ start }) => start)).toEqual([0, 1]);
  });

  test.each([
    [25, "pyramid"],
    [40, "linear"],
    [14, "pyramid"],
    [200, "linear"],
  ] as const)("count as 1 together for each of %d frames (%s)", (total, blend) => {
    const sums = new Float64Array(total);
    for (const { start, shares } of over(total, { blend }))
      for (const [i, share] of shares.entries()) sums[start + i] += share;
    expect(sums).toBeCloseToArray(new Float64Array(total).fill(1), { atol: 1e-12 });
  });

  test("fade into each other evenly", () => {
    const [first, second] = windowsOver(6, { frames: 4, stride: 2, blend: "linear" });
    expect(first.shares).toBeCloseToArray([1, 1, 2 / 3, 1 / 3], { atol: 1e-12 });
    expect(second.shares.slice(0, 2)).toBeCloseToArray([1 / 3, 2 / 3], { atol: 1e-12 });
    expect(second.shares.slice(2)).toEqual([1, 1]);
    const [one, two] = windowsOver(5, { frames: 4, stride: 1, blend: "pyramid" });
    expect(one.shares).toBeCloseToArray([1, 2 / 3, 0.5, 1 / 3], { atol: 1e-12 });
    expect(two.shares).toBeCloseToArray([1 / 3, 0.5, 2 / 3, 1], { atol: 1e-12 });
  });

  test("are one with exactly its own frames where it covers the clip", () => {
    for (const blend of ["pyramid", "linear"] as const)
      expect(over(5, { blend })).toEqual([{ start: 0, shares: [1, 1, 1, 1, 1] }]);
  });
});
