/** @file Tests of which samples of a step are images. */
import { describe, expect, test } from "vitest";
import { imagesInBatch } from "./joint-images.ts";

describe("images in a batch", () => {
  const batches = Array.from({ length: 400 }, (_, step) => imagesInBatch({ seed: 1, step, share: 0.3 }, 8));
  const counts = batches.map((batch) => batch.filter(Boolean).length);

  test("are the share that was asked for, one more or less at most", () => {
    expect(new Set(counts)).toEqual(new Set([2, 3]));
    expect(counts.reduce((a, b) => a + b, 0) / 3200).toBeCloseTo(0.3, 1.7);
  });

  test("stand in every place", () => {
    for (let i = 0; i < 8; i++) {
      const share = batches.filter((batch) => batch[i]).length / 400;
      expect(share).toBeGreaterThan(0.2);
      expect(share).toBeLessThan(0.4);
    }
  });

  test("are the same ones again for the same step", () => {
    expect(imagesInBatch({ seed: 1, step: 9, share: 0.3 }, 8)).toEqual(batches[9]);
    expect(imagesInBatch({ seed: 1, step: 9, share: 1 }, 3)).toEqual([true, true, true]);
    expect(imagesInBatch({ seed: 1, step: 9, share: 0 }, 3)).toEqual([false, false, false]);
  });
});
