/** @file Tests of the clips that a step takes: sizes, images, timesteps and rows. */
import { describe, expect, test } from "vitest";
import { type ClipSize, sizeKey } from "./clip-size.ts";
import { planStep, type StepPlanSetting, sizesOf } from "./step-plan.ts";

const largest = { frames: 9, width: 24, height: 16 };
const tokensOf = ({ frames, width, height }: ClipSize) => 4 + (frames * width * height) / 64;
const setting = (stage: Partial<StepPlanSetting["stage"]>): StepPlanSetting => ({
  stage: { batch: 3, accumulate: 4, imageShare: 0, ...stage },
  timesteps: "explicit",
  largest,
  tokensOf,
  seed: 7,
});
const pack = {
  capacity: 60,
  /** Those of five frames have as many tokens as each other. */
  sizes: [largest, { frames: 5, width: 16, height: 8 }, { frames: 5, width: 8, height: 16 }],
  weights: "per-sample" as const,
};
const steps = Array.from({ length: 100 }, (_, step) => step + 1);

test("micro-batches of one size come in the order of their clips", () => {
  const plan = planStep(setting({}), 3);
  expect(plan.map((samples) => samples.map(({ place }) => place))).toEqual([
    [0, 1, 2],
    [3, 4, 5],
    [6, 7, 8],
    [9, 10, 11],
  ]);
  expect(new Set(plan.flat().map(({ size }) => size))).toEqual(new Set([largest]));
});

test("a share of the micro-batches is of images, whole ones at a time", () => {
  const plans = steps.flatMap((step) => planStep(setting({ imageShare: 0.3 }), step));
  for (const samples of plans) expect(new Set(samples.map(({ size }) => size.frames)).size).toBe(1);
  const images = plans.filter(([{ size }]) => size.frames === 1);
  expect(images.length / plans.length).toBeCloseTo(0.3, 1);
  expect(images[0][0].size).toEqual({ ...largest, frames: 1 });
});

test("clips of sizes of their own are cut to these in every row, and images to their first frames", () => {
  const own = (place: number) => pack.sizes[place % 3];
  for (const step of steps)
    for (const { place, size } of planStep(
      { ...setting({ pack, imageShare: 0.25 }), ownSize: own },
      step,
    ).flat())
      expect([sizeKey(own(place)), sizeKey({ ...own(place), frames: 1 })]).toContain(sizeKey(size));
});

describe("packed", () => {
  const plans = steps.map((step) => planStep(setting({ pack, imageShare: 0.25 }), step));

  test("every clip is in one row, and no row is above the capacity", () => {
    for (const rows of plans) {
      const places = rows.flat().map(({ place }) => place);
      expect(places.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 12 }, (_, i) => i));
      for (const row of rows)
        expect(row.reduce((sum, { size }) => sum + tokensOf(size), 0)).toBeLessThanOrEqual(60);
    }
  });

  test("clips are drawn in all sizes alike, and a share of them is of images", () => {
    const sizes = plans.flat(2).map(({ size }) => size);
    const share = (is: (size: ClipSize) => boolean) => sizes.filter(is).length / sizes.length;
    expect(share(({ frames }) => frames === 1)).toBeCloseTo(0.25, 5);
    expect(share(({ frames }) => frames === 9)).toBeCloseTo(0.25, 1);
    expect(share(({ width }) => width === 8)).toBeCloseTo(1 / 3, 1);
  });

  test("rows of the same clips have them in the same order", () => {
    const rows = plans.flat().map((row) => row.map(({ size }) => sizeKey(size)));
    const sorted = new Map(rows.map((row) => [row.toSorted().join(), row.join()]));
    for (const row of rows) expect(row.join()).toBe(sorted.get(row.toSorted().join()));
  });

  test("a step is planned the same again, and its timesteps are spread over its clips", () => {
    expect(planStep(setting({ pack, imageShare: 0.25 }), 9)).toEqual(plans[8]);
    const strata = plans[8].flat().map(({ timestep }) => Math.floor((timestep * 12) / 1000));
    expect(strata.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 12 }, (_, i) => i));
  });
});

test("a stage takes clips in each of its sizes, and their images where it has some", () => {
  expect(sizesOf({ batch: 1, accumulate: 1, imageShare: 0 }, largest)).toEqual([largest]);
  expect(sizesOf({ batch: 1, accumulate: 1, imageShare: 0.1, pack }, largest)).toEqual([
    ...pack.sizes,
    ...pack.sizes.map((size) => ({ ...size, frames: 1 })),
  ]);
});
