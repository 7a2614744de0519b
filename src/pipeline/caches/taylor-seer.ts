/** @file TaylorSeer: features are foretold by the Taylor series of what they were (Liu et al. 2025). */
import { ConfigError } from "../../errors.ts";
import { wholeFrom } from "./option-checks.ts";
import type { CachePolicy } from "./policy.ts";

/** Computes every few steps, and extrapolates between them. */
export type TaylorSeerOptions = {
  readonly kind: "taylorseer";
  /** Steps from one computed step to the next; 5 unless given. */
  readonly interval?: number;
  /** Steps at the beginning that are computed; 3 unless given. */
  readonly warmup?: number;
  /** From this step on, all are computed; none unless given. */
  readonly until?: number;
  /** Order of the series; 1 unless given. */
  readonly order?: number;
  /** What is foretold: the whole prediction, or what attention says; "prediction" unless given. */
  readonly part?: "prediction" | "attention";
};

/** Steps whose results are kept, newest first. */
type Memory = { readonly computed: readonly number[] };

/** TaylorSeer as a policy. */
export function taylorSeer(options: TaylorSeerOptions): CachePolicy<Memory> {
  const { interval = 5, warmup = 3, until = Number.POSITIVE_INFINITY, order = 1 } = options;
  const { part = "prediction" } = options;
  wholeFrom(1, "interval of taylorseer", interval);
  wholeFrom(1, "warmup of taylorseer", warmup);
  wholeFrom(0, "order of taylorseer", order);
  if (part !== "prediction" && part !== "attention")
    throw new ConfigError(`part of taylorseer must be prediction or attention, got ${part}`);
  return {
    kept: { part, count: order + 1 },
    start: { computed: [] },
    decide: (memory, { step, available }) => {
      const isComputed = step < warmup || (step - warmup - 1) % interval === 0 || step >= until;
      if (available > 0 && !isComputed) return { memory, reuse: taylorWeights(memory.computed, step) };
      return { memory: { computed: [step, ...memory.computed].slice(0, order + 1) }, reuse: null };
    },
  };
}

/**
 * Weights of results computed at some steps, newest first, in the Taylor series at another step: Σ F_j k^j / j! with k
 * the distance to the newest, F_0 the newest result and F_(j+1) = (F_j - F_j before) / distance between the two.
 */
export function taylorWeights(computed: readonly number[], step: number): number[] {
  const [newest] = computed;
  const factors = differences(computed);
  let scale = 1;
  const weights = computed.map(() => 0);
  for (const [order, factor] of factors.entries()) {
    if (order > 0) scale *= (step - newest) / order;
    for (const [i, weight] of factor.entries()) weights[i] += scale * weight;
  }
  return weights;
}

/** F_0, F_1, … of the newest result, each as weights of all results. */
function differences(computed: readonly number[]): number[][] {
  const unit: number[] = computed.map((_, i) => (i === 0 ? 1 : 0));
  if (computed.length === 1) return [unit];
  const [newest, before] = computed;
  const factors = [unit];
  for (const earlier of differences(computed.slice(1))) {
    const last = factors[factors.length - 1];
    factors.push(last.map((weight, i) => (weight - (i === 0 ? 0 : earlier[i - 1])) / (newest - before)));
  }
  return factors;
}
