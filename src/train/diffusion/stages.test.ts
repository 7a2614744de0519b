/** @file Stages of a training, and images among its videos. */
import { describe, expect, test } from "vitest";
import { ConfigError } from "../../errors.ts";
import { imagesInBatch, parseStages, stageAt, totalSteps } from "./stages.ts";

const paper = parseStages(
  [
    { steps: 400_000, height: 256, width: 384, frames: 49, batch: 2000 },
    { steps: 220_000, height: 480, width: 720, frames: 49, batch: 1000, learningRate: 1e-4 },
    { steps: 120_000, shortSide: 768, frames: 81, batch: 250, positions: "extrapolate" },
    { steps: 10_000, shortSide: 768, frames: 81, batch: 100, positions: "extrapolate" },
  ],
  "train.json",
);

describe("a step is in the stage", () => {
  test.each([
    [0, 0, 0],
    [399_999, 0, 399_999],
    [400_000, 1, 0],
    [620_000, 2, 0],
    [749_999, 3, 9_999],
  ])("%i", (step, index, stepInStage) => {
    expect(stageAt(paper, step)).toMatchObject({ index, stepInStage, firstStep: step - stepInStage });
  });

  test("of none when all stages are done", () => {
    expect(totalSteps(paper)).toBe(750_000);
    expect(stageAt(paper, 750_000)).toBeNull();
  });
});

test("a stage says nothing of images and positions unless told", () => {
  expect(paper[0]).toMatchObject({ imageShare: 0, positions: "checkpoint" });
});

describe("stages that cannot be are refused", () => {
  const good = { steps: 10, shortSide: 64, frames: 9, batch: 2 };
  test.each([
    ["no stage", [], "train.json: stages: "],
    ["no steps", [{ ...good, steps: 0 }], "train.json: stages[0][steps]: "],
    ["an unknown field", [{ ...good, lr: 1 }], 'Unrecognized key: "lr"'],
    [
      "two sizes",
      [{ ...good, height: 64, width: 64 }],
      "must have either shortSide or both height and width",
    ],
    ["half a size", [{ ...good, height: 64 }], "must have either shortSide or both height and width"],
    [
      "an odd size",
      [good, { ...good, shortSide: 72 }],
      "stages[1]: shortSide must be a multiple of 16, got 72",
    ],
    ["frames the VAE cannot take", [{ ...good, frames: 48 }], "frames must be 4k + 1"],
  ])("%s", (_, stages, message) => {
    const parse = () => parseStages(stages, "train.json");
    expect(parse).toThrow(ConfigError);
    expect(parse).toThrow(message);
  });

  test("and so are steps before the first", () => {
    expect(() => stageAt(paper, -1)).toThrow(ConfigError);
  });
});

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
