/** @file The methods of guidance against the guiders of diffusers, and what holds for them on paper. */
import { describe, expect, test } from "vitest";
import { readDiffusionFixture } from "../../test/helpers/diffusion-fixture.ts";
import { hashInput } from "../../test/helpers/hash-fill.ts";
import { combineGuidance, type Guidance } from "./guidance.ts";
import {
  deviation,
  guidedPrediction,
  isZeroStep,
  optimalScale,
  projectGuidance,
  rescaled,
} from "./guided-prediction.ts";
import { createRng } from "./noise.ts";
import { startRun } from "./sampler.ts";
import { samplerFor } from "./sampler-for.ts";
import { parseSchedulerConfig } from "./schedule.ts";

const fixture = readDiffusionFixture<{
  projected: { eta: number; momentum: number; threshold: number; weight: number; steps: number[][] }[];
  scales: number[];
  rescaled: number[][];
}>("guided");

const pair = (step: number) => ({
  conditional: hashInput([1, 24], 2 * step + 1),
  unconditional: hashInput([1, 24], 2 * step + 2),
});
const values = (...list: number[]) => Float32Array.from(list);

describe("projected guidance", () => {
  test.each(fixture.projected)("is the reference's with $eta, $momentum, $threshold", (given) => {
    const { eta, momentum, threshold, weight, steps } = given;
    let previous: Float32Array | undefined;
    for (const [step, expected] of steps.entries()) {
      const options = { eta, momentum, threshold: threshold || undefined };
      const result = projectGuidance(options, weight, pair(step), previous);
      expect(result.prediction).toBeCloseToArray(expected, { atol: 2e-5 });
      previous = result.momentum;
    }
  });

  test("drops what is parallel to the conditional prediction", () => {
    const both = { conditional: values(2, 0), unconditional: values(1, -1) };
    expect(projectGuidance({ momentum: 0 }, 3, both).prediction).toEqual(values(2, 2));
    expect(projectGuidance({ momentum: 0, eta: 1 }, 3, both).prediction).toEqual(values(4, 2));
    expect(
      projectGuidance({ momentum: 0, eta: 1, threshold: Math.SQRT1_2 }, 3, both).prediction,
    ).toBeCloseToArray([3, 1], { atol: 1e-6 });
  });

  test("with everything kept and no momentum is plain guidance, whatever the model predicts", () => {
    for (const prediction_type of ["v_prediction", "sample", "epsilon"]) {
      const { plan, state } = middle(prediction_type);
      const both = pair(0);
      const guidance = { scale: 6, projected: { eta: 1, momentum: 0 } };
      const { prediction } = guidedPrediction(guidance, plan, state, both);
      const plain = combineGuidance(both.unconditional, both.conditional, 6);
      expect(prediction).toBeCloseToArray(plain, { atol: 2e-4 });
    }
  });
});

describe("CFG-Zero*", () => {
  test("has the reference's scale", () => {
    const scales = [0, 1, 2].map((step) => optimalScale(pair(step).conditional, pair(step).unconditional));
    expect(scales).toBeCloseToArray(fixture.scales, { atol: 1e-6 });
    expect(optimalScale(values(1, 2), values(0, 0))).toBe(0);
  });

  test("leaves the conditional prediction where the other is a multiple of it", () => {
    const { plan, state } = middle("v_prediction");
    const conditional = values(1, -2, 3);
    const both = { conditional, unconditional: conditional.map((x) => 0.5 * x) };
    const { prediction } = guidedPrediction(
      { scale: 6, zeroStar: {} },
      plan,
      { ...state, latents: both.conditional },
      both,
    );
    expect(prediction).toBeCloseToArray(conditional, { atol: 1e-6 });
  });

  test("stands still in the first steps, of models that predict velocities", () => {
    const { plan } = middle("v_prediction");
    const zero = (zeroSteps?: number) =>
      [0, 1, 2].map((step) => isZeroStep({ scale: 6, zeroStar: { zeroSteps } }, plan, step));
    expect(zero()).toEqual([true, false, false]);
    expect(zero(2)).toEqual([true, true, false]);
    expect(zero(0)).toEqual([false, false, false]);
    expect(isZeroStep({ scale: 6 }, plan, 0)).toBe(false);
    const other = middle("epsilon").plan;
    expect(() => isZeroStep({ scale: 6, zeroStar: {} }, other, 0)).toThrow(
      /predicts epsilon; use 0 zero steps/,
    );
  });
});

describe("rescaling", () => {
  test("is the reference's", () => {
    for (const [step, expected] of fixture.rescaled.entries()) {
      const { conditional, unconditional } = pair(step);
      const guided = combineGuidance(unconditional, conditional, 6);
      expect(rescaled(guided, conditional, 0.7)).toBeCloseToArray(expected, { atol: 1e-5 });
    }
  });

  test("all the way gives the spread of the conditional prediction, with any method", () => {
    const { plan, state } = middle("v_prediction");
    for (const method of [{}, { projected: {} }, { zeroStar: {} }] as Partial<Guidance>[]) {
      const { prediction } = guidedPrediction({ scale: 6, rescale: 1, ...method }, plan, state, pair(0));
      expect(deviation(prediction)).toBeCloseTo(deviation(pair(0).conditional), 5);
    }
  });
});

/** A run of ten steps after the third. */
function middle(prediction_type: string) {
  const json = { _class_name: "CogVideoXDDIMScheduler", prediction_type, timestep_spacing: "trailing" };
  const plan = samplerFor(parseSchedulerConfig(json, "test")).prepare(10);
  const state = { ...startRun(hashInput([1, 24], 9), createRng(1)), step: 3 };
  return { plan, state };
}
