/** @file FasterCache: attention is extrapolated, and the samples without the prompt are derived (Lv et al. 2024). */
import { ConfigError } from "../../errors.ts";
import { isBetween, wholeFrom } from "./option-checks.ts";
import type { CachePolicy, CacheRun, Decision } from "./policy.ts";

/** Evaluates mostly the samples with the prompt, and every other time with extrapolated attention. */
export type FasterCacheOptions = {
  readonly kind: "fastercache";
  /** Attention is computed in every this many steps; 2 unless given. */
  readonly every?: number;
  /** How far attention is extrapolated: o1 + weight (o1 - o2); 0.5 unless given. */
  readonly weight?: number;
  /** Attention is extrapolated below this timestep; 681 unless given. */
  readonly below?: number;
  /** The samples without the prompt are evaluated in every this many steps; 5 unless given. */
  readonly unconditionalEvery?: number;
  /** They are derived below this timestep; 641 unless given. */
  readonly unconditionalBelow?: number;
};

/** What the two bands have been multiplied by since the samples without the prompt were last evaluated. */
type Memory = { readonly low: number; readonly high: number };

const fresh: Memory = { low: 1, high: 1 };

/** Low frequencies matter early, high ones late: the band in question grows by a tenth with every derived step. */
const growth = 1.1;
const lowBetween = [99, 901] as const;
const highBetween = [-1, 301] as const;

/** FasterCache as a policy. @throws ConfigError where the batch is anything but the pair of guidance */
export function fasterCache(options: FasterCacheOptions, { isGuidedPair }: CacheRun): CachePolicy<Memory> {
  const { every = 2, weight = 0.5, below = 681, unconditionalEvery = 5, unconditionalBelow = 641 } = options;
  wholeFrom(1, "every of fastercache", every);
  wholeFrom(1, "unconditionalEvery of fastercache", unconditionalEvery);
  if (!Number.isFinite(weight))
    throw new ConfigError(`weight of fastercache must be a number, got ${weight}`);
  if (!isGuidedPair)
    throw new ConfigError(
      "fastercache derives the prediction without the prompt from the one with it; it needs guidance above 1, and " +
        "works neither with stg nor with inversion",
    );
  return {
    kept: { part: "attention", count: 2, conditional: true },
    start: fresh,
    decide: ({ low, high }, { step, timestep, available }): Decision<Memory> => {
      const isDerived =
        available > 0 && step % unconditionalEvery !== 0 && isBetween(timestep, [-1, unconditionalBelow]);
      if (!isDerived) return { memory: fresh, reuse: null };
      const memory = {
        low: isBetween(timestep, lowBetween) ? low * growth : low,
        high: isBetween(timestep, highBetween) ? high * growth : high,
      };
      const isComputed = step % every === 0 || !isBetween(timestep, [-1, below]);
      const extrapolated = available > 1 ? [1 + weight, -weight] : [1];
      return { memory, unconditional: memory, reuse: isComputed ? null : extrapolated };
    },
  };
}
