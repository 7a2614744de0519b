/** @file What every sampler has in common: the plan of a run, its state, and the step from one state to the next. */
import { ConfigError, ShapeError } from "../errors.ts";
import { restoreRng, saveRng, type TorchRng, type TorchRngState } from "./noise.ts";
import {
  alphaBarAt,
  isCogVideoXClass,
  type NoiseSchedule,
  noiseSchedule,
  type SchedulerConfig,
} from "./schedule.ts";
import { samplingTimesteps, type TimestepOptions, timestepsForStrength } from "./timesteps.ts";

/** Everything that changes during a run. A value: `structuredClone` copies it, a later step resumes from it. */
export type SamplerState = {
  /** Noisy latents, any layout; the same elements in the same order as the model's output. */
  readonly latents: Float32Array;
  /** Number of steps done, so also the index of the next timestep. */
  readonly step: number;
  /** What the last step predicted as clean latents (for multistep samplers and previews); empty before step one. */
  readonly history: readonly Float32Array[];
  readonly rng: TorchRngState;
  /** What guidance carries from step to step; only where it has momentum. */
  readonly momentum?: Float32Array;
};

/** What stays the same during a run. */
export type SamplingPlan = {
  readonly config: SchedulerConfig;
  readonly schedule: NoiseSchedule;
  /** In the order of the run. */
  readonly timesteps: readonly number[];
  /**
   * The other, less noisy end of each step: where denoising goes to, and where inversion comes from. Negative is the
   * clean end of the schedule.
   */
  readonly cleanerEnds: readonly number[];
  /** 0 is deterministic, 1 is DDPM; only the generic DDIM sampler looks at it. */
  readonly eta: number;
};

/** `strength` 0 to 1 starts late, for video-to-video; `eta` as in `SamplingPlan`; the rest as in `planRun`. */
export type PlanOptions = TimestepOptions & { readonly strength?: number; readonly eta?: number };

/** A way from noise to video: pure functions from state to state. */
export interface Sampler {
  readonly name: "ddim" | "dpm" | "generic-ddim" | "inverse-ddim";
  readonly config: SchedulerConfig;
  /**
   * Plans a run of `numSteps` steps.
   * @throws ConfigError when steps, strength or eta are out of range, or the sampler has no such discretisation.
   */
  prepare(numSteps: number, options?: PlanOptions): SamplingPlan;
  /**
   * One step. `prediction` is the model's output for `state.latents` at `plan.timesteps[state.step]`, guidance
   * applied; the state given is left as it is.
   * @throws ShapeError when the prediction does not fit the latents. @throws ConfigError when all steps are done.
   */
  step(plan: SamplingPlan, state: SamplerState, prediction: Float32Array): SamplerState;
}

/**
 * The plan of a run; what `Sampler.prepare` returns. Each step ends where the next one begins, and the last one ends
 * clean. The reference takes `timestep - floor(T / n)` instead, which is the same where n divides T. Where it does not,
 * its steps overlap, and the last may end at timestep 0 with noise left in the clip (7 steps); `parity` repeats that.
 * For the discretisation see `discretisations`.
 */
export function planRun(config: SchedulerConfig, numSteps: number, options: PlanOptions = {}): SamplingPlan {
  const { strength = 1, eta = 0, parity = false, discretisation = "diffusers" } = options;
  if (!(eta >= 0 && eta <= 1)) throw new ConfigError(`eta must be in 0 to 1, got ${eta}`);
  if (discretisation === "sat") requireSat(config, parity);
  const timesteps = samplingTimesteps(config, numSteps, options);
  const stride = Math.floor(config.numTrainTimesteps / numSteps);
  const towardsClean = config.className === "DDIMInverseScheduler" ? -1 : 1;
  const ends = timesteps.map((t, i) => (parity ? t - stride : (timesteps[i + towardsClean] ?? -1)));
  return {
    config,
    // A single timestep would have to keep its value and to have no signal at once; the table's last one has none.
    schedule: noiseSchedule(config, discretisation === "sat" && numSteps > 1 ? timesteps : undefined),
    timesteps: timestepsForStrength(timesteps, numSteps, strength),
    cleanerEnds: timestepsForStrength(ends, numSteps, strength),
    eta,
  };
}

/** SAT's programs have these samplers and this schedule alone. */
function requireSat({ className, rescaleBetasZeroSnr }: SchedulerConfig, parity: boolean): void {
  if (parity)
    throw new ConfigError(
      "parity repeats what diffusers does, and the discretisation is sat; leave one of them out",
    );
  if (!isCogVideoXClass(className) || !rescaleBetasZeroSnr)
    throw new ConfigError(
      `the discretisation sat rescales a schedule of CogVideoX to zero terminal SNR, and this is a ${className}` +
        `${rescaleBetasZeroSnr ? "" : " whose rescale_betas_zero_snr is false"}; leave it at diffusers`,
    );
}

/** A sampler that plans its runs as all of them do, and has a step of its own. */
export function samplerOf(name: Sampler["name"], config: SchedulerConfig, step: Sampler["step"]): Sampler {
  return { name, config, prepare: (numSteps, options) => planRun(config, numSteps, options), step };
}

/** The state before the first step. The generator goes on where `rng` is now; `rng` itself is not advanced later. */
export function startRun(latents: Float32Array, rng: TorchRng): SamplerState {
  return { latents, step: 0, history: [], rng: saveRng(rng) };
}

/** Where a step of a denoising sampler goes from and to. */
export type StepRange = {
  readonly timestep: number;
  /** May be negative: then the step ends at the clean end of the schedule. */
  readonly nextTimestep: number;
  readonly alphaBar: number;
  readonly nextAlphaBar: number;
};

/** The range of the step that comes next. */
export function nextRange(plan: SamplingPlan, state: SamplerState): StepRange {
  const timestep = plan.timesteps[state.step];
  const nextTimestep = plan.cleanerEnds[state.step];
  return {
    timestep,
    nextTimestep,
    alphaBar: alphaBarAt(plan.schedule, timestep),
    nextAlphaBar: nextTimestep >= 0 ? alphaBarAt(plan.schedule, nextTimestep) : plan.schedule.finalAlphaBar,
  };
}

/** Throws unless the state has a step left to do and the prediction fits it. */
export function checkStep(plan: SamplingPlan, state: SamplerState, prediction: Float32Array): void {
  if (state.step >= plan.timesteps.length) {
    throw new ConfigError(
      `the run has ${plan.timesteps.length} steps and the state has done ${state.step} of them`,
    );
  }
  if (prediction.length !== state.latents.length) {
    throw new ShapeError(
      `the model's output has ${prediction.length} elements, but must have ${state.latents.length} like the latents`,
    );
  }
}

/** What `draw` makes with a generator that goes on from the state's, and that generator afterwards. */
export function drawing<T>(
  state: SamplerState,
  draw: (rng: TorchRng) => T,
): { drawn: T; rng: TorchRngState } {
  const rng = restoreRng(state.rng);
  const drawn = draw(rng);
  return { drawn, rng: saveRng(rng) };
}
