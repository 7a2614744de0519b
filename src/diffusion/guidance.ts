/** @file Classifier-free guidance: how much a step follows the prompt, and the sum that does it. */
import { ConfigError, ShapeError } from "../errors.ts";

const f32 = Math.fround;

/** Every `GuidanceMode`. */
export const guidanceModes = ["constant", "wave", "cosine"] as const;
/**
 * How the weight goes over a run: the scale throughout ("constant"), the reference's dynamic guidance ("wave"), or that as
 * it was meant ("cosine"); formulas at `guidanceWeight`.
 */
export type GuidanceMode = (typeof guidanceModes)[number];

/** Adaptive projected guidance (Sadat et al. 2024): what is parallel to the conditional prediction oversaturates. */
export type ProjectedGuidance = {
  /** Share of the parallel part that is kept, 0 to 1; 0 unless given, 1 is plain guidance. */
  readonly eta?: number;
  /** Weight of the differences of earlier steps, -1 to 1; -0.5 unless given, 0 is none. */
  readonly momentum?: number;
  /** Longest difference, as the norm over a clip's latents; no limit unless given. */
  readonly threshold?: number;
};

/** CFG-Zero* (Fan et al. 2025): an optimal scale for the unconditional prediction, and no movement at first. */
export type ZeroStarGuidance = {
  /** First steps whose velocity is zero; 1 unless given. */
  readonly zeroSteps?: number;
};

/** Guidance of a run. `scale` 1 and below means none. */
export type Guidance = {
  readonly scale: number;
  /** "constant" unless given. */
  readonly mode?: GuidanceMode;
  /**
   * Shares of the run, 0 to 1, between which there is guidance (Kynkäänniemi et al. 2024): a step counts when the share
   * that precedes it is at least the first and less than the second. Steps outside need half the work.
   */
  readonly interval?: readonly [from: number, to: number];
  /** How far the spread is pulled back to the conditional prediction's, 0 to 1 (Lin et al. 2023, section 3.4). */
  readonly rescale?: number;
  /** At most one of this and `zeroStar`. */
  readonly projected?: ProjectedGuidance;
  readonly zeroStar?: ZeroStarGuidance;
};

/** Where in a run a step is. */
export type GuidedStep = {
  /** Index of the step, from 0. */
  readonly step: number;
  /** Steps of the run; for video to video those left after the strength. */
  readonly numSteps: number;
  /** The training timestep, 0 to 999. */
  readonly timestep: number;
};

/** Whether the model has to run without the prompt too; decided once per run by the scale alone, whatever the mode. */
export function isGuided(guidance: Guidance): boolean {
  return guidance.scale > 1;
}

/** Whether one step of a guided run is guided, as the interval says. */
export function isGuidedAt(guidance: Guidance, { step, numSteps }: Omit<GuidedStep, "timestep">): boolean {
  const [from, to] = guidance.interval ?? [0, 1];
  return isGuided(guidance) && step >= from * numSteps && step < to * numSteps;
}

/** @throws ConfigError for numbers out of range, or methods that exclude each other */
export function checkedGuidance(guidance: Guidance): Guidance {
  const { scale, mode, interval, rescale, projected, zeroStar } = guidance;
  requireRange("guidance", scale, -Infinity, Infinity);
  if (mode !== undefined && !guidanceModes.includes(mode))
    throw new ConfigError(`the guidance mode must be one of ${guidanceModes.join(", ")}, got ${mode}`);
  if (interval) {
    const [from, to] = interval;
    if (!(from >= 0 && from < to && to <= 1))
      throw new ConfigError(
        `the guidance interval must be two shares of the run, 0 <= first < second <= 1, got ${from} and ${to}`,
      );
  }
  requireRange("the guidance rescale", rescale, 0, 1);
  if (projected && zeroStar)
    throw new ConfigError("projected guidance (--apg) and CFG-Zero* (--cfg-zero) exclude each other");
  requireRange("the eta of projected guidance", projected?.eta, 0, 1);
  requireRange("the momentum of projected guidance", projected?.momentum, -1, 1);
  requireRange("the threshold of projected guidance", projected?.threshold, Number.MIN_VALUE, Infinity);
  const zeroSteps = zeroStar?.zeroSteps;
  if (zeroSteps !== undefined && (!Number.isInteger(zeroSteps) || zeroSteps < 0))
    throw new ConfigError(`the zero steps of CFG-Zero* must be a whole number from 0, got ${zeroSteps}`);
  return guidance;
}

function requireRange(name: string, value: number | undefined, least: number, most: number): void {
  if (value === undefined || (value >= least && value <= most && !Number.isNaN(value))) return;
  const range = least === -Infinity ? "a number" : most === Infinity ? "above 0" : `${least} to ${most}`;
  throw new ConfigError(`${name} must be ${range}, got ${value}`);
}

/**
 * The weight of one step, float64. "cosine" rises from 1 to 1 + scale with the share s of the run that is done:
 * `1 + scale (1 - cos(pi s^5)) / 2`. "wave" is what the reference makes of it: s = (n - t) / n with the training
 * timestep t, so that the weight jumps between 1 and 1 + scale; the released models were tuned with that.
 */
export function guidanceWeight({ scale, mode }: Guidance, { step, numSteps, timestep }: GuidedStep): number {
  if (mode === undefined || mode === "constant") return scale;
  const done = mode === "wave" ? numSteps - timestep : step;
  return 1 + (scale * (1 - Math.cos(Math.PI * fifthPower(done / numSteps)))) / 2;
}

/**
 * x^5, rounded once; x is 0 or at least 2^-17. The phase counts half turns and reaches 10^11 in runs of a few steps, so
 * its last bit shows in the weight, and the last bit of JavaScript's `**` is often wrong.
 */
function fifthPower(x: number): number {
  return Number(BigInt(x * 2 ** 70) ** 5n) * 2 ** -350;
}

/**
 * `unconditional + weight (conditional - unconditional)` in float32 (Ho & Salimans 2022); a new array.
 * @throws ShapeError when the lengths differ.
 */
export function combineGuidance(
  unconditional: Float32Array,
  conditional: Float32Array,
  weight: number,
): Float32Array {
  if (unconditional.length !== conditional.length) {
    throw new ShapeError(
      `unconditional has ${unconditional.length} elements, but must have ${conditional.length} like conditional`,
    );
  }
  const factor = f32(weight);
  return unconditional.map((u, i) => u + f32(factor * f32(conditional[i] - u)));
}
