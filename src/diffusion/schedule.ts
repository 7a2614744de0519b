/** @file The noise schedule of a scheduler_config.json: how much signal is left at every training timestep. */
import { z } from "zod";
import { ConfigError } from "../errors.ts";

/** The scheduler classes that a checkpoint may name. */
export const schedulerClasses = [
  "CogVideoXDDIMScheduler",
  "CogVideoXDPMScheduler",
  "DDIMScheduler",
  "DDIMInverseScheduler",
] as const;

export type SchedulerClass = (typeof schedulerClasses)[number];

/** What the model's output means: the noise, the clean latents, or the velocity between them. */
export type PredictionType = "epsilon" | "sample" | "v_prediction";

/** A scheduler_config.json with the defaults of its class filled in. */
export type SchedulerConfig = {
  readonly className: SchedulerClass;
  readonly numTrainTimesteps: number;
  readonly betaStart: number;
  readonly betaEnd: number;
  readonly betaSchedule: "linear" | "scaled_linear" | "squaredcos_cap_v2";
  readonly trainedBetas: readonly number[] | null;
  readonly predictionType: PredictionType;
  readonly timestepSpacing: "leading" | "trailing" | "linspace";
  readonly stepsOffset: number;
  readonly setAlphaToOne: boolean;
  readonly rescaleBetasZeroSnr: boolean;
  /** 1 is no shift; only the CogVideoX classes have one. */
  readonly snrShiftScale: number;
  /** Never applied by the CogVideoX classes. */
  readonly clipSample: boolean;
  readonly clipSampleRange: number;
};

/** Signal rates by training timestep. */
export type NoiseSchedule = {
  /** Cumulative product of 1 - beta: the share of signal variance at each timestep, falling. */
  readonly alphaBar: Float64Array;
  /** The value past the clean end of `alphaBar`: 1, or `alphaBar[0]` when set_alpha_to_one is false. */
  readonly finalAlphaBar: number;
};

/** Whether the class is one of the two with a float64 schedule and an SNR shift. */
export function isCogVideoXClass(className: SchedulerClass): boolean {
  return className === "CogVideoXDDIMScheduler" || className === "CogVideoXDPMScheduler";
}

/**
 * Reads the content of a scheduler_config.json. Fields that the class does not know are ignored, as in the reference
 * (so a DDIMScheduler silently drops `snr_shift_scale`).
 * @param source name of the file, for messages.
 * @throws ConfigError when the class is unknown, a field has a wrong type, or a feature is not supported.
 */
export function parseSchedulerConfig(json: unknown, source: string): SchedulerConfig {
  const className = parseClassName(json, source);
  const isCogVideoX = isCogVideoXClass(className);
  const result = (isCogVideoX ? cogVideoXFields : genericFields).safeParse(json);
  if (!result.success) throw new ConfigError(describeIssue(result.error.issues[0], json, source));
  const fields = result.data;
  if (!isCogVideoX && fields.thresholding) {
    throw new ConfigError(`${source}: thresholding true is not supported, the released models have false`);
  }
  if (fields.trained_betas && fields.trained_betas.length !== fields.num_train_timesteps) {
    throw new ConfigError(
      `${source}: trained_betas must have num_train_timesteps = ${fields.num_train_timesteps} values, ` +
        `got ${fields.trained_betas.length}`,
    );
  }
  return {
    className,
    numTrainTimesteps: fields.num_train_timesteps,
    betaStart: fields.beta_start,
    betaEnd: fields.beta_end,
    betaSchedule: fields.beta_schedule,
    trainedBetas: fields.trained_betas,
    predictionType: fields.prediction_type,
    timestepSpacing: fields.timestep_spacing,
    stepsOffset: fields.steps_offset,
    setAlphaToOne: fields.set_alpha_to_one,
    rescaleBetasZeroSnr: fields.rescale_betas_zero_snr,
    snrShiftScale: isCogVideoX ? fields.snr_shift_scale : 1,
    clipSample: fields.clip_sample,
    clipSampleRange: fields.clip_sample_range,
  };
}

const sharedFields = {
  num_train_timesteps: z.int().min(2).default(1000),
  trained_betas: z.array(z.number()).nullable().default(null),
  prediction_type: z.enum(["epsilon", "sample", "v_prediction"]).default("epsilon"),
  timestep_spacing: z.enum(["leading", "trailing", "linspace"]).default("leading"),
  steps_offset: z.int().min(0).default(0),
  set_alpha_to_one: z.boolean().default(true),
  rescale_betas_zero_snr: z.boolean().default(false),
  snr_shift_scale: z.number().positive().default(3),
  clip_sample: z.boolean().default(true),
  clip_sample_range: z.number().positive().default(1),
  thresholding: z.boolean().default(false),
};
const beta = z.number().positive().lt(1);
const betaSchedule = z.enum(["linear", "scaled_linear", "squaredcos_cap_v2"]);

const cogVideoXFields = z.object({
  ...sharedFields,
  beta_start: beta.default(0.00085),
  beta_end: beta.default(0.012),
  beta_schedule: betaSchedule.default("scaled_linear"),
});

const genericFields = z.object({
  ...sharedFields,
  beta_start: beta.default(0.0001),
  beta_end: beta.default(0.02),
  beta_schedule: betaSchedule.default("linear"),
});

function parseClassName(json: unknown, source: string): SchedulerClass {
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new ConfigError(`${source}: a scheduler configuration must be a JSON object, got ${show(json)}`);
  }
  const value = "_class_name" in json ? json._class_name : undefined;
  const known = schedulerClasses.find((name) => name === value);
  if (known) return known;
  throw new ConfigError(
    `${source}: _class_name ${show(value)} is not a scheduler this package knows; ` +
      `known are ${schedulerClasses.join(", ")}`,
  );
}

function describeIssue(issue: z.core.$ZodIssue, json: unknown, source: string): string {
  let value = json;
  for (const key of issue.path) value = (value as Record<PropertyKey, unknown>)[key]; // zod walked this path in json
  return `${source}: ${issue.path.join(".")} is ${show(value)}. ${issue.message}`;
}

function show(value: unknown): string {
  return value === undefined ? "missing" : JSON.stringify(value);
}

/** Rounds the result of one operation to the precision the reference computes in. */
type Round = (value: number) => number;

/**
 * The schedule that a configuration describes. The CogVideoX classes compute it in float64 with the SNR shift of
 * Stable Diffusion 3 and rescale alphaBar to zero terminal SNR; the generic classes do it in float32 on the betas.
 * @param visited of a CogVideoX class, the timesteps that alone are rescaled: the cleanest of them keeps its value and the
 *   noisiest has no signal. All of them unless given. What lies between and beyond is then never looked at.
 */
export function noiseSchedule(config: SchedulerConfig, visited?: readonly number[]): NoiseSchedule {
  const alphaBar = isCogVideoXClass(config.className)
    ? cogVideoXAlphaBar(config, visited)
    : genericAlphaBar(config);
  return { alphaBar, finalAlphaBar: config.setAlphaToOne ? 1 : alphaBar[0] };
}

/**
 * alphaBar of a timestep in 0 to T - 1, or of -1, which is the last one: the reference indexes from the end there.
 * @throws ConfigError when the schedule has no such timestep.
 */
export function alphaBarAt(schedule: NoiseSchedule, timestep: number): number {
  const value = schedule.alphaBar.at(timestep);
  if (value === undefined || !Number.isInteger(timestep) || timestep < -1) {
    throw new ConfigError(
      `timestep must be an integer in 0 to ${schedule.alphaBar.length - 1} of the noise schedule, got ${timestep}`,
    );
  }
  return value;
}

function cogVideoXAlphaBar(config: SchedulerConfig, visited?: readonly number[]): Float64Array {
  const isFloat64 = config.betaSchedule === "scaled_linear" && config.trainedBetas === null;
  const round: Round = isFloat64 ? (value) => value : Math.fround;
  const shifted = shiftSnr(cumulativeAlpha(betas(config, round), round), config.snrShiftScale, round);
  return config.rescaleBetasZeroSnr ? zeroTerminalSnr(shifted, round, visited) : shifted;
}

function genericAlphaBar(config: SchedulerConfig): Float64Array {
  const round: Round = Math.fround;
  const alphaBar = cumulativeAlpha(betas(config, round), round);
  if (!config.rescaleBetasZeroSnr) return alphaBar;
  const rescaled = zeroTerminalSnr(alphaBar, round);
  // Back to betas and up again, as the reference does: that costs a few float32 roundings.
  return cumulativeAlpha(
    rescaled.map((value, i) => round(1 - (i === 0 ? value : round(value / rescaled[i - 1])))),
    round,
  );
}

function betas(config: SchedulerConfig, round: Round): Float64Array {
  const { betaStart, betaEnd, numTrainTimesteps } = config;
  if (config.trainedBetas) return Float64Array.from(config.trainedBetas, round);
  if (config.betaSchedule === "squaredcos_cap_v2") return cosineBetas(numTrainTimesteps).map(round);
  if (config.betaSchedule === "linear") return linspace(betaStart, betaEnd, numTrainTimesteps, round);
  const roots = linspace(Math.sqrt(betaStart), Math.sqrt(betaEnd), numTrainTimesteps, round);
  return roots.map((root) => round(root * root));
}

/** `torch.linspace`: counts up from the start in the first half and down from the end in the second. */
function linspace(start: number, end: number, count: number, round: Round): Float64Array {
  const first = round(start);
  const last = round(end);
  const step = round(round(last - first) / (count - 1));
  return Float64Array.from({ length: count }, (_, i) =>
    i < count / 2 ? round(first + step * i) : round(last - step * (count - 1 - i)),
  );
}

/** Nichol & Dhariwal 2021, eq. 17: betas from a squared cosine, at most 0.999. */
function cosineBetas(count: number): Float64Array {
  const alphaBar = (t: number): number => Math.cos((((t + 0.008) / 1.008) * Math.PI) / 2) ** 2;
  return Float64Array.from({ length: count }, (_, i) =>
    Math.min(1 - alphaBar((i + 1) / count) / alphaBar(i / count), 0.999),
  );
}

function cumulativeAlpha(betaValues: Float64Array, round: Round): Float64Array {
  let product = 1; // accumulated in float64 even for float32 betas, as torch.cumprod does on a CPU
  return betaValues.map((value) => round((product *= round(1 - value))));
}

function shiftSnr(alphaBar: Float64Array, scale: number, round: Round): Float64Array {
  return alphaBar.map((value) => round(value / round(scale + round((1 - scale) * value))));
}

/** Lin et al. 2023, algorithm 1: the last of the timesteps keeps no signal, the first one keeps its value. */
function zeroTerminalSnr(
  alphaBar: Float64Array,
  round: Round,
  timesteps: readonly number[] = [0, alphaBar.length - 1],
): Float64Array {
  const roots = alphaBar.map((value) => round(Math.sqrt(value)));
  const first = roots[Math.min(...timesteps)];
  const last = roots[Math.max(...timesteps)];
  const factor = round(first / round(first - last));
  return roots.map((root) => {
    const shifted = round(round(root - last) * factor);
    return round(shifted * shifted);
  });
}
