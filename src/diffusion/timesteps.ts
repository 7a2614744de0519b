/** @file Which training timesteps a run of n sampling steps visits. */
import { ConfigError } from "../errors.ts";
import type { SchedulerConfig } from "./schedule.ts";

/** Fields of the configuration that decide the timesteps. */
export type TimestepConfig = Pick<
  SchedulerConfig,
  "className" | "numTrainTimesteps" | "timestepSpacing" | "stepsOffset"
>;

/** Every `Discretisation`. */
export const discretisations = ["diffusers", "sat"] as const;
/**
 * Whose way it is to get from the schedule of training to the noise levels of a run. "diffusers" rescales the whole table
 * to zero terminal SNR and takes timesteps out of it. "sat" takes timesteps first, by rules of its own, and rescales what
 * it took, so that the cleanest level keeps its value: at 50 steps the largest difference, at timestep 19, is 6e-4 in the
 * share of the signal. (SAT also rounds a level to the nearest one of the whole table where it undoes the velocity; that is
 * not repeated.)
 */
export type Discretisation = (typeof discretisations)[number];

export type TimestepOptions = {
  /** Repeats defects of the reference; see `samplingTimesteps` and `planRun`. */
  readonly parity?: boolean;
  /** "diffusers" unless given. */
  readonly discretisation?: Discretisation;
};

/**
 * The timesteps of a run, noisiest first (DDIMInverseScheduler: cleanest first), as `set_timesteps(n)` of the
 * reference, names of spacings after Lin et al. 2023, table 2. With trailing spacing the reference gives an extra
 * timestep -1 for 62 values of n (61, 103, 121, ...) out of a rounding error; that one is dropped here unless `parity`.
 * The discretisation "sat" knows one spacing, which goes from the last timestep towards 0 without reaching it.
 * @throws ConfigError when n is not an integer in 1 to num_train_timesteps, or the spacing does not fit.
 */
export function samplingTimesteps(
  config: TimestepConfig,
  numSteps: number,
  options: TimestepOptions = {},
): number[] {
  const total = config.numTrainTimesteps;
  if (!Number.isInteger(numSteps) || numSteps < 1 || numSteps > total) {
    throw new ConfigError(`steps must be an integer in 1 to ${total}, got ${numSteps}`);
  }
  if (options.discretisation === "sat") return linspaceWithoutEnd(total, numSteps);
  const isInverse = config.className === "DDIMInverseScheduler";
  if (isInverse && config.timestepSpacing === "linspace") {
    throw new ConfigError(
      "timestep_spacing linspace does not work with DDIMInverseScheduler; use trailing or leading",
    );
  }
  const timesteps = spacings[config.timestepSpacing](total, numSteps, config.stepsOffset);
  const kept = options.parity ? timesteps : timesteps.slice(0, numSteps);
  if (kept[0] >= total) {
    throw new ConfigError(
      `steps_offset ${config.stepsOffset} with ${numSteps} steps leads to timestep ${kept[0]}, the last is ${total - 1}`,
    );
  }
  return isInverse ? kept.reverse() : kept;
}

/**
 * The part of the timesteps that a video-to-video run of strength 0 to 1 still has to do: the last
 * `floor(n * strength)` of n.
 * @throws ConfigError when the strength is out of range, or leaves no step to do.
 */
export function timestepsForStrength(
  timesteps: readonly number[],
  numSteps: number,
  strength: number,
): number[] {
  if (!(strength >= 0 && strength <= 1)) throw new ConfigError(`strength must be in 0 to 1, got ${strength}`);
  const numKept = Math.min(Math.trunc(numSteps * strength), numSteps);
  if (numKept === 0) {
    throw new ConfigError(
      `strength ${strength} of ${numSteps} steps leaves no step to do; use a strength of at least ${1 / numSteps}`,
    );
  }
  return timesteps.slice(numSteps - numKept);
}

type Spacing = (total: number, numSteps: number, offset: number) => number[];

const spacings: { readonly [S in SchedulerConfig["timestepSpacing"]]: Spacing } = {
  trailing,
  leading,
  linspace,
};

function trailing(total: number, numSteps: number): number[] {
  const step = total / numSteps;
  // numpy's arange derives its increment from the first two values; multiplying by the step itself would round
  // differently for 49 values of n.
  const increment = total - step - total;
  const count = Math.ceil(total / step);
  return Array.from({ length: count }, (_, i) => roundHalfEven(total + i * increment) - 1);
}

function leading(total: number, numSteps: number, offset: number): number[] {
  const stride = Math.floor(total / numSteps);
  return Array.from({ length: numSteps }, (_, i) => (numSteps - 1 - i) * stride + offset);
}

function linspace(total: number, numSteps: number): number[] {
  if (numSteps === 1) return [0];
  const step = (total - 1) / (numSteps - 1);
  return Array.from({ length: numSteps }, (_, i) =>
    i === 0 ? total - 1 : roundHalfEven((numSteps - 1 - i) * step),
  );
}

/** numpy's linspace from the last timestep to 0 without its end, cut to whole numbers. */
function linspaceWithoutEnd(total: number, numSteps: number): number[] {
  const step = -(total - 1) / numSteps;
  return Array.from({ length: numSteps }, (_, i) => Math.trunc(i * step + (total - 1)));
}

function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const fraction = value - floor;
  if (fraction !== 0.5) return fraction < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}
