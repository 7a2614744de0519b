/** @file DDIM run backwards: from clean latents to the noise that would give them. */
import { clamp, predictNoise, predictOriginal } from "./prediction.ts";
import { checkStep, type Sampler, type SamplerState, type SamplingPlan, samplerOf } from "./sampler.ts";
import { alphaBarAt, type SchedulerConfig } from "./schedule.ts";

const f32 = Math.fround;

/** The sampler of `DDIMInverseScheduler`; its timesteps rise. */
export function inverseDdimSampler(config: SchedulerConfig): Sampler {
  return samplerOf("inverse-ddim", config, inverseDdimStep);
}

/**
 * One step of DDIM inversion in float32: reads the latents at the cleaner end of the step and writes them at its
 * timestep. Draws nothing from the generator.
 */
function inverseDdimStep(plan: SamplingPlan, state: SamplerState, prediction: Float32Array): SamplerState {
  checkStep(plan, state, prediction);
  const { schedule, config } = plan;
  const target = plan.timesteps[state.step];
  const source = plan.cleanerEnds[state.step];
  const alphaBar = source >= 0 ? alphaBarAt(schedule, source) : schedule.finalAlphaBar;
  const targetAlphaBar = alphaBarAt(schedule, target);

  const rates = { signal: f32(Math.sqrt(alphaBar)), sigma: f32(Math.sqrt(f32(1 - alphaBar))) };
  const predicted = predictOriginal(config.predictionType, rates, state.latents, prediction);
  const original = config.clipSample ? clamp(predicted, config.clipSampleRange) : predicted;
  const noise = predictNoise(config.predictionType, rates, state.latents, prediction);
  const signal = f32(Math.sqrt(targetAlphaBar));
  const sigma = f32(Math.sqrt(f32(1 - targetAlphaBar)));
  return {
    latents: original.map((x, i) => f32(signal * x) + f32(sigma * noise[i])),
    step: state.step + 1,
    history: [original],
    rng: state.rng,
  };
}
