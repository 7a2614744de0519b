/** @file The prediction that a guided step works with: plain guidance, and the methods that mend what it does. */
import { ConfigError } from "../errors.ts";
import { combineGuidance, type Guidance, guidanceWeight, type ProjectedGuidance } from "./guidance.ts";
import { predictionFor, predictOriginal, type Rates } from "./prediction.ts";
import type { SamplerState, SamplingPlan } from "./sampler.ts";
import { alphaBarAt } from "./schedule.ts";

const f32 = Math.fround;

/** What the model says of one step with the prompt and without. */
export type Predictions = { readonly conditional: Float32Array; readonly unconditional: Float32Array };

export type GuidedPrediction = {
  readonly prediction: Float32Array;
  /** For the state of the next step; only of projected guidance. */
  readonly momentum?: Float32Array;
};

/** The guided prediction of the step that comes next, new arrays. */
export function guidedPrediction(
  guidance: Guidance,
  plan: SamplingPlan,
  state: SamplerState,
  { conditional, unconditional }: Predictions,
): GuidedPrediction {
  const timestep = plan.timesteps[state.step];
  const { step } = state;
  const weight = guidanceWeight(guidance, { step, numSteps: plan.timesteps.length, timestep });
  const guided = combined(guidance, weight, plan, state, { conditional, unconditional });
  const { rescale = 0 } = guidance;
  if (rescale === 0) return guided;
  return { ...guided, prediction: rescaled(guided.prediction, conditional, rescale) };
}

function combined(
  { projected, zeroStar }: Guidance,
  weight: number,
  plan: SamplingPlan,
  state: SamplerState,
  { conditional, unconditional }: Predictions,
): GuidedPrediction {
  if (projected) {
    const { predictionType } = plan.config;
    const rates = ratesOf(plan, state);
    const clean = (prediction: Float32Array) =>
      predictOriginal(predictionType, rates, state.latents, prediction);
    const both = { conditional: clean(conditional), unconditional: clean(unconditional) };
    const { prediction, momentum } = projectGuidance(projected, weight, both, state.momentum);
    return { prediction: predictionFor(predictionType, rates, state.latents, prediction), momentum };
  }
  const share = zeroStar ? optimalScale(conditional, unconditional) : 1;
  const scaled = zeroStar ? unconditional.map((u) => share * u) : unconditional;
  return { prediction: combineGuidance(scaled, conditional, weight) };
}

function ratesOf(plan: SamplingPlan, { step }: SamplerState): Rates {
  const alphaBar = alphaBarAt(plan.schedule, plan.timesteps[step]);
  return { signal: f32(Math.sqrt(alphaBar)), sigma: f32(Math.sqrt(1 - alphaBar)) };
}

/**
 * Adaptive projected guidance (Sadat et al. 2024) on predictions of the clean latents: with the running
 * difference `d = conditional - unconditional + momentum d'`, shortened to `threshold`, of which the part parallel to the
 * conditional prediction counts `eta`, the result is `conditional + (weight - 1) (orthogonal + eta parallel)`.
 */
export function projectGuidance(
  { eta = 0, momentum = -0.5, threshold = Infinity }: ProjectedGuidance,
  weight: number,
  { conditional, unconditional }: Predictions,
  previous?: Float32Array,
): Required<GuidedPrediction> {
  const difference = conditional.map((c, i) => c - unconditional[i] + momentum * (previous?.[i] ?? 0));
  const shortened = Math.min(1, threshold / Math.sqrt(dot(difference, difference)));
  const parallel = (shortened * dot(difference, conditional)) / (dot(conditional, conditional) || 1);
  const prediction = conditional.map((c, i) => {
    const update = shortened * difference[i] - (1 - eta) * parallel * c;
    return c + (weight - 1) * update;
  });
  return { prediction, momentum: difference };
}

/** The s that brings `s unconditional` nearest to the conditional prediction (Fan et al. 2025). */
export function optimalScale(conditional: Float32Array, unconditional: Float32Array): number {
  return dot(conditional, unconditional) / (dot(unconditional, unconditional) || 1);
}

/**
 * The first steps of CFG-Zero* stand still: a velocity of zero, for which the model need not be asked.
 * @throws ConfigError where the model does not predict velocities
 */
export function isZeroStep({ zeroStar }: Guidance, { config }: SamplingPlan, step: number): boolean {
  if (zeroStar === undefined || step >= (zeroStar.zeroSteps ?? 1)) return false;
  if (config.predictionType === "v_prediction") return true;
  throw new ConfigError(
    `CFG-Zero* begins with velocities of zero, but this model predicts ${config.predictionType}; use 0 zero steps`,
  );
}

/** `share` of the way from a guided prediction to one with the conditional's deviation (Lin et al. 2023, section 3.4). */
export function rescaled(guided: Float32Array, conditional: Float32Array, share: number): Float32Array {
  const factor = f32(share * (deviation(conditional) / deviation(guided)) + (1 - share));
  return guided.map((v) => v * factor);
}

/** Standard deviation of a sample: divided by n - 1. */
export function deviation(values: Float32Array): number {
  let mean = 0;
  for (const value of values) mean += value / values.length;
  let squares = 0;
  for (const value of values) squares += (value - mean) ** 2;
  return Math.sqrt(squares / (values.length - 1));
}

function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}
