/** @file CogVideoX's DDIM sampler: deterministic, float64 coefficients, SNR-shifted schedule. */
import { predictOriginal } from "./prediction.ts";
import {
  checkStep,
  nextRange,
  type Sampler,
  type SamplerState,
  type SamplingPlan,
  samplerOf,
} from "./sampler.ts";
import type { SchedulerConfig } from "./schedule.ts";

const f32 = Math.fround;

/** The sampler of `CogVideoXDDIMScheduler`. */
export function ddimSampler(config: SchedulerConfig): Sampler {
  return samplerOf("ddim", config, ddimStep);
}

/**
 * One step of DDIM (Song et al. 2021, eq. 12 with sigma 0), written so that nothing is divided by the signal rate:
 * `x' = forLatents x + forOriginal x_0`. Draws nothing from the generator.
 */
function ddimStep(plan: SamplingPlan, state: SamplerState, prediction: Float32Array): SamplerState {
  checkStep(plan, state, prediction);
  const { alphaBar, nextAlphaBar } = nextRange(plan, state);
  const rates = { signal: f32(Math.sqrt(alphaBar)), sigma: f32(Math.sqrt(1 - alphaBar)) };
  const original = predictOriginal(plan.config.predictionType, rates, state.latents, prediction);
  const coefficients = ddimCoefficients(alphaBar, nextAlphaBar);
  const forLatents = f32(coefficients.forLatents);
  const forOriginal = f32(coefficients.forOriginal);
  return {
    latents: state.latents.map((x, i) => f32(forLatents * x) + f32(forOriginal * original[i])),
    step: state.step + 1,
    history: [original],
    rng: state.rng,
  };
}

/** Float64 weights of the latents and of the predicted clean latents in a step from alphaBar to the next. */
export function ddimCoefficients(
  alphaBar: number,
  nextAlphaBar: number,
): { forLatents: number; forOriginal: number } {
  const forLatents = Math.sqrt((1 - nextAlphaBar) / (1 - alphaBar));
  return { forLatents, forOriginal: Math.sqrt(nextAlphaBar) - Math.sqrt(alphaBar) * forLatents };
}
