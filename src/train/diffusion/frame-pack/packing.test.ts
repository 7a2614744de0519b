/** @file Packing of samples into rows, and of rows onto ranks. */
import { describe, expect, test } from "vitest";
import { ConfigError } from "../../../errors.ts";
import { drawUniforms, rngFor } from "../random.ts";
import { dealtRows, sampleCost } from "./balance.ts";
import { framesThatFit, packingEfficiency, packSamples } from "./packing.ts";

/** Images and clips as in a joint training: 226 text tokens, and 1 to 13 frames of 96 to 384 tokens. */
const mixed = Array.from(drawUniforms(rngFor(1, "lengths"), 1000), (u, i) => {
  const perFrame = [96, 216, 384][i % 3];
  return 226 + perFrame * (i % 4 === 0 ? 1 : 1 + Math.floor(u * 13));
});
const capacity = 6000;

describe("packing", () => {
  const rows = packSamples(mixed, { capacity });

  test("puts every sample into exactly one row", () => {
    expect(rows.flat().toSorted((a, b) => a - b)).toEqual(mixed.map((_, i) => i));
  });

  test("keeps to the capacity, and fills more than 95 % of it", () => {
    const used = rows.map((row) => row.reduce((sum, i) => sum + mixed[i], 0));
    expect(Math.max(...used)).toBeLessThanOrEqual(capacity);
    expect(packingEfficiency(rows, mixed, capacity)).toBeGreaterThan(0.95);
  });

  test("mixes images and clips in a row", () => {
    const isImage = (i: number) => i % 4 === 0;
    expect(rows.some((row) => row.some(isImage) && !row.every(isImage))).toBe(true);
  });

  test("is the same every time, and takes samples of a window only until that is done", () => {
    expect(packSamples(mixed, { capacity })).toEqual(rows);
    const small = packSamples(mixed, { capacity, window: 50 });
    expect(small[0].every((i) => i < 50)).toBe(true);
    expect(small.flat()).toHaveLength(1000);
  });

  test("orders the samples of a row from long to short", () => {
    expect(packSamples([3, 9, 4, 1], { capacity: 10 })).toEqual([
      [1, 3],
      [2, 0],
    ]);
  });

  test("gives a sample that leaves no room a row of its own, and nothing to no samples", () => {
    expect(packSamples([10, 10], { capacity: 10 })).toEqual([[0], [1]]);
    expect(packSamples([], { capacity: 10 })).toEqual([]);
  });

  test("refuses a sample that no row can take", () => {
    const pack = () => packSamples([3, 11], { capacity: 10 });
    expect(pack).toThrow(ConfigError);
    expect(pack).toThrow("sample 1 has 11 tokens, a row has room for 10");
  });
});

test("a clip that is too long is cut to the frames that fit", () => {
  const size = { tokensPerFrame: 100, textLength: 50, patchT: null };
  expect(framesThatFit(13, size, 1000)).toBe(9);
  expect(framesThatFit(13, { ...size, patchT: 2 }, 1000)).toBe(13);
  expect(framesThatFit(21, { ...size, patchT: 2 }, 1000)).toBe(18);
  expect(framesThatFit(13, size, 120)).toBe(0);
  expect(framesThatFit(13, size, 20)).toBe(0);
});

describe("balance", () => {
  test("counts attention by the square of each sample's own length", () => {
    expect(sampleCost(10, 8)).toBe(24 * 64 * 10 + 4 * 8 * 100);
    expect(sampleCost(20, 8)).toBeGreaterThan(2 * sampleCost(10, 8));
  });

  test("leaves no rank with much more than another, where ranks take turns at rows", () => {
    const rows = packSamples(mixed, { capacity }).map((row) => row.map((i) => mixed[i]));
    const order = dealtRows(rows, { width: 512, ranks: 8 });
    expect(order.toSorted((a, b) => a - b)).toEqual(rows.map((_, i) => i));
    const cost = (row: number[]) => row.reduce((sum, tokens) => sum + sampleCost(tokens, 512), 0);
    const spread = (indices: number[]) => {
      const loads = Array<number>(8).fill(0);
      for (const [turn, row] of indices.entries()) loads[turn % 8] += cost(rows[row]);
      return Math.max(...loads) / Math.min(...loads);
    };
    expect(spread(order)).toBeLessThan(1.05);
    expect(spread(order)).toBeLessThan(spread(rows.map((_, i) => i)));
  });

  test("gives a rank that is alone all rows, and no rows to nobody", () => {
    expect(dealtRows([[1], [9], [4, 4]], { width: 8, ranks: 1 })).toEqual([1, 2, 0]);
    expect(dealtRows([], { width: 8, ranks: 2 })).toEqual([]);
  });

  test("lets the rank that had the costliest row of a round have the cheapest of the next", () => {
    const rows = [9, 8, 7, 6, 5].map((tokens) => [tokens]);
    expect(dealtRows(rows, { width: 8, ranks: 2 })).toEqual([0, 1, 3, 2, 4]);
  });
});
