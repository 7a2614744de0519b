/** @file The generic DDIM sampler, which the control pipeline uses: float32 coefficients, clipping, optional noise. */
import { drawNormals } from "./noise.ts";
import { clamp, predictNoise, predictOriginal } from "./prediction.ts";
import {
  checkStep,
  drawing,
  nextRange,
  type Sampler,
  type SamplerState,
  type SamplingPlan,
  samplerOf,
} from "./sampler.ts";
import type { SchedulerConfig } from "./schedule.ts";

const f32 = Math.fround;

/** The sampler of `DDIMScheduler`. */
export function genericDdimSampler(config: SchedulerConfig): Sampler {
  return samplerOf("generic-ddim", config, genericDdimStep);
}

/**
 * One step of DDIM (Song et al. 2021, eq. 12 and 16) in float32. Clean latents are clipped where the configuration
 * says so, the noise is not derived again from the clipped ones. Draws from the generator only when eta is above 0.
 */
function genericDdimStep(plan: SamplingPlan, state: SamplerState, prediction: Float32Array): SamplerState {
  checkStep(plan, state, prediction);
  const { predictionType, clipSample, clipSampleRange } = plan.config;
  const { alphaBar, nextAlphaBar } = nextRange(plan, state);
  const rates = { signal: f32(Math.sqrt(alphaBar)), sigma: f32(Math.sqrt(f32(1 - alphaBar))) };
  const predicted = predictOriginal(predictionType, rates, state.latents, prediction);
  const original = clipSample ? clamp(predicted, clipSampleRange) : predicted;
  const noise = predictNoise(predictionType, rates, state.latents, prediction);

  const deviation = plan.eta > 0 ? f32(f32(plan.eta) * posteriorDeviation(alphaBar, nextAlphaBar)) : 0;
  const signal = f32(Math.sqrt(nextAlphaBar));
  const direction = f32(Math.sqrt(f32(f32(1 - nextAlphaBar) - f32(deviation * deviation))));
  const latents = original.map((x, i) => f32(signal * x) + f32(direction * noise[i]));
  const next = { step: state.step + 1, history: [original] };
  if (plan.eta === 0) return { ...next, latents, rng: state.rng };
  const { drawn, rng } = drawing(state, (generator) => drawNormals(generator, latents.length));
  return { ...next, latents: latents.map((x, i) => x + f32(deviation * drawn[i])), rng };
}

/** Standard deviation of q(x_t' | x_t, x_0), float32: eq. 16 with eta 1. */
function posteriorDeviation(alphaBar: number, nextAlphaBar: number): number {
  const share = f32(f32(1 - nextAlphaBar) / f32(1 - alphaBar));
  return f32(Math.sqrt(f32(share * f32(1 - f32(alphaBar / nextAlphaBar)))));
}
