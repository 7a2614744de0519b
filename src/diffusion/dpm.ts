/** @file CogVideoX's DPM sampler: SDE-DPM-Solver++ of second order, two steps of history, fresh noise in every step. */
import { drawNormals } from "./noise.ts";
import { predictOriginal } from "./prediction.ts";
import {
  checkStep,
  drawing,
  nextRange,
  type Sampler,
  type SamplerState,
  type SamplingPlan,
  samplerOf,
} from "./sampler.ts";
import { alphaBarAt, type SchedulerConfig } from "./schedule.ts";

const f32 = Math.fround;

/** The sampler of `CogVideoXDPMScheduler`. */
export function dpmSampler(config: SchedulerConfig): Sampler {
  return samplerOf("dpm", config, dpmStep);
}

/**
 * One step of SDE-DPM-Solver++ (Lu et al. 2022, "DPM-Solver++", section 6), second order (2M) where there is a
 * previous prediction and the step does not end clean, first order otherwise.
 * A second-order step draws twice and drops the first draw, so that the generator stays where the reference's is.
 */
function dpmStep(plan: SamplingPlan, state: SamplerState, prediction: Float32Array): SamplerState {
  checkStep(plan, state, prediction);
  const { latents, step, history } = state;
  const { alphaBar, nextAlphaBar, nextTimestep } = nextRange(plan, state);
  const rates = { signal: f32(Math.sqrt(alphaBar)), sigma: f32(Math.sqrt(1 - alphaBar)) };
  const original = predictOriginal(plan.config.predictionType, rates, latents, prediction);
  const isSecondOrder = history.length > 0 && nextTimestep >= 0;
  const { drawn: noise, rng } = drawing(state, (generator) => {
    const first = drawNormals(generator, latents.length);
    return isSecondOrder ? drawNormals(generator, latents.length) : first;
  });

  const c = dpmCoefficients(alphaBar, nextAlphaBar);
  const forLatents = f32(c.forLatents);
  const forOriginal = f32(c.forOriginal);
  const forNoise = f32(c.forNoise);
  const target = isSecondOrder
    ? extrapolate(original, history[0], ratioOfSteps(plan, step, alphaBar, c.h))
    : original;
  return {
    latents: latents.map(
      (x, i) => f32(f32(forLatents * x) - f32(forOriginal * target[i])) + f32(forNoise * noise[i]),
    ),
    step: step + 1,
    history: [original],
    rng,
  };
}

/**
 * Float64 coefficients of `x' = forLatents x - forOriginal x_0 + forNoise n`; h is the growth of the log-SNR half.
 * Zero terminal SNR makes h infinite in the first step, and a clean end in the last; both limits come out right
 * because the infinities only pass through exp.
 */
export function dpmCoefficients(
  alphaBar: number,
  nextAlphaBar: number,
): { h: number; forLatents: number; forOriginal: number; forNoise: number } {
  const h = lambda(nextAlphaBar) - lambda(alphaBar);
  return {
    h,
    forLatents: Math.sqrt((1 - nextAlphaBar) / (1 - alphaBar)) * Math.exp(-h),
    forOriginal: Math.expm1(-2 * h) * Math.sqrt(nextAlphaBar),
    forNoise: Math.sqrt(1 - nextAlphaBar) * Math.sqrt(1 - Math.exp(-2 * h)),
  };
}

/** Half the log of the signal-to-noise ratio; minus infinity without signal, infinity without noise. */
export function lambda(alphaBar: number): number {
  return Math.log(Math.sqrt(alphaBar / (1 - alphaBar)));
}

/** r = (length of the previous step) / (length of this one) in lambda; infinite after a start without signal. */
function ratioOfSteps(plan: SamplingPlan, step: number, alphaBar: number, h: number): number {
  const previousAlphaBar = alphaBarAt(plan.schedule, plan.timesteps[step - 1]);
  return (lambda(alphaBar) - lambda(previousAlphaBar)) / h;
}

/** Linear extrapolation of the clean latents: `(1 + 1/2r) x_0 - (1/2r) x_0 of the step before`. */
function extrapolate(original: Float32Array, previous: Float32Array, ratio: number): Float32Array {
  const forOriginal = f32(1 + 1 / (2 * ratio));
  const forPrevious = f32(1 / (2 * ratio));
  return original.map((x, i) => f32(forOriginal * x) - f32(forPrevious * previous[i]));
}
