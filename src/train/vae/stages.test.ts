/** @file Stages of VAE training. */
import { describe, expect, test } from "vitest";
import { ConfigError } from "../../errors.ts";
import { parseVaeConfig } from "../../models/vae/config.ts";
import { parseVaeStages, planVaeStep, releasedVaeStages, type VaeStage } from "./stages.ts";

const config = parseVaeConfig({}, "config.json");
const short: VaeStage = {
  steps: 3,
  frames: 17,
  height: 64,
  width: 64,
  batch: 8,
  frameRates: [8, 16],
  imageShare: 0.25,
  learningRate: 1e-4,
};
const long: VaeStage = { ...short, steps: 2, frames: 49, imageShare: 0 };

test("the released stages are ones that the model can take", () => {
  expect(parseVaeStages(releasedVaeStages, config, "train.json")).toEqual(releasedVaeStages);
});

test("short clips come first and long ones after them", () => {
  const plans = [0, 1, 2, 3, 4, 5].map((step) => planVaeStep([short, long], 1, step));
  expect(plans.map((plan) => plan && [plan.index, plan.stepInStage, plan.stage.frames])).toEqual([
    [0, 0, 17],
    [0, 1, 17],
    [0, 2, 17],
    [1, 0, 49],
    [1, 1, 49],
    null,
  ]);
});

test("a quarter of the samples are images, which are clips of one frame, at both frame rates", () => {
  const samples = Array.from({ length: 50 }, (_, step) =>
    planVaeStep([{ ...short, steps: 50 }], 1, step),
  ).flatMap((plan) => plan!.samples);
  expect(samples.filter(({ frames }) => frames === 1)).toHaveLength(100);
  expect(samples.filter(({ frames }) => frames === 17)).toHaveLength(300);
  const slow = samples.filter(({ frameRate }) => frameRate === 8).length;
  expect(slow).toBeGreaterThan(150);
  expect(slow).toBeLessThan(250);
});

test("a step's plan is the same whenever it is made", () => {
  expect(planVaeStep([short], 9, 2)).toEqual(planVaeStep([short], 9, 2));
  expect(planVaeStep([short], 9, 2)).not.toEqual(planVaeStep([short], 10, 2));
});

describe("stages that cannot be are refused:", () => {
  test.each([
    ["no stages", [], "train.json: stages: "],
    ["no batch", [{ ...short, batch: 0 }], "train.json: stages[0][batch]: "],
    [
      "frames that would not come back",
      [short, { ...short, frames: 21 }],
      "stages[1]: clips must be [8k + 1, 3, H, W] with sides that are multiples of 8, got 21 frames of 64 x 64",
    ],
    ["odd sides", [{ ...short, width: 60 }], "got 17 frames of 60 x 64 pixels"],
  ])("%s", (_, stages, message) => {
    const parse = () => parseVaeStages(stages, config, "train.json");
    expect(parse).toThrow(ConfigError);
    expect(parse).toThrow(message);
  });
});
