/** @file Which timesteps a training step draws: independently, or spread evenly over all draws of the step. */
import { ConfigError } from "../../errors.ts";
import { drawUniform, rngFor } from "./random.ts";

/** Where a rank stands, and how timesteps are drawn. */
export type TimestepSampling = {
  readonly seed: number;
  /** Global step, from 0. */
  readonly step: number;
  /** Data-parallel rank; ranks that share one model (sequence or context parallel) pass the same one. */
  readonly rank: number;
  /** Number of data-parallel ranks. */
  readonly world: number;
  /** Samples of one micro-batch of one rank. */
  readonly batch: number;
  /** Micro-batches that one step accumulates. */
  readonly accumulation: number;
  /** Timesteps of the schedule; draws are 0 (clean) to timesteps - 1 (noise). */
  readonly timesteps?: number;
  readonly method?: "explicit" | "independent";
  /** Intervals that 0 to `timesteps` is cut into; by default one for each draw of a step. */
  readonly groups?: number;
};

/**
 * Timesteps of one rank in one step, `[accumulation · batch]`: those of micro-batch m start at m · batch.
 *
 * `explicit` is the explicit uniform sampling of CogVideoX: 0 to `timesteps` is cut into equal intervals, each of which
 * gets equally many draws in every step (one, unless `groups` is given), over ranks, micro-batches and samples together.
 * Which draw gets which interval moves on from step to step, so that no rank sees only one band of noise. Intervals are
 * cut between timesteps where their number does not divide `timesteps`, so every timestep is as likely as any other.
 * @throws ConfigError when a count is not a positive integer, the rank is not in the world, or `groups` does not divide
 * the draws of a step
 */
export function trainingTimesteps(sampling: TimestepSampling): Int32Array {
  const { seed, step, rank, batch, accumulation, timesteps = 1000, method = "explicit" } = sampling;
  checkCounts(sampling);
  const draws = batch * accumulation;
  const intervals = intervalsOf(sampling);
  return Int32Array.from({ length: draws }, (_, i) => {
    const slot = rank * draws + i;
    const u = drawUniform(rngFor(seed, "timestep", step, slot));
    if (method === "independent") return Math.floor(u * timesteps);
    const place = (intervalOf(sampling, slot, intervals) + u) / intervals;
    return Math.min(timesteps - 1, Math.floor(place * timesteps));
  });
}

/** The interval that draw `slot` of the step gets: a bijection of the draws, another one in every step. */
function intervalOf(
  { seed, step, world, batch, accumulation }: TimestepSampling,
  slot: number,
  groups: number,
) {
  const draws = world * batch * accumulation;
  const offset = Math.floor(drawUniform(rngFor(seed, "timestep rotation")) * draws);
  const moved = (slot + offset + (step % draws) * strideFor(draws)) % draws;
  return Math.floor((moved * groups) / draws);
}

/** A number without a common divisor with `draws`, near its golden section: steps that follow each other lie far apart. */
function strideFor(draws: number): number {
  let stride = Math.max(1, Math.round(draws * 0.381966));
  while (greatestCommonDivisor(stride, draws) !== 1) stride++;
  return stride;
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

function intervalsOf({ world, batch, accumulation, groups }: TimestepSampling): number {
  const draws = world * batch * accumulation;
  if (groups === undefined || draws % groups === 0) return groups ?? draws;
  const divisors = Array.from({ length: draws }, (_, i) => i + 1).filter((d) => draws % d === 0);
  const below = divisors.findLast((d) => d < groups);
  const above = divisors.find((d) => d > groups);
  throw new ConfigError(
    `groups is ${groups}, which does not divide the ${draws} timesteps of a step ` +
      `(${world} ranks, batches of ${batch}, accumulation ${accumulation}); ` +
      `${[below, above].filter((d) => d !== undefined).join(" and ")} would, and so would leaving it out`,
  );
}

function checkCounts({ step, rank, world, batch, accumulation, timesteps, groups }: TimestepSampling): void {
  for (const [name, value] of Object.entries({ world, batch, accumulation, timesteps, groups }))
    if (value !== undefined && !(Number.isInteger(value) && value > 0))
      throw new ConfigError(`${name} must be a whole number above 0, got ${value}`);
  if (!Number.isInteger(step) || step < 0)
    throw new ConfigError(`step must be a whole number from 0, got ${step}`);
  if (!Number.isInteger(rank) || rank < 0 || rank >= world)
    throw new ConfigError(`rank must be in 0 to ${world - 1} for a world of ${world}, got ${rank}`);
}
