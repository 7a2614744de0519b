/** @file First-block cache: how far the first block has moved tells how far all have (Cheng 2024, ParaAttention). */
import { ConfigError } from "../../errors.ts";
import { atLeastZero } from "./option-checks.ts";
import type { CachePolicy, CacheRun } from "./policy.ts";

/** Computes the first block in every step, and leaves the others out while it moves little. */
export type FirstBlockCacheOptions = {
  readonly kind: "first-block";
  /** Relative change of what the first block adds up to which the others are left out; 0.05 unless given. */
  readonly threshold?: number;
};

/** The first-block cache as a policy. It remembers nothing but what is kept. */
export function firstBlockCache(
  { threshold = 0.05 }: FirstBlockCacheOptions,
  { config }: CacheRun,
): CachePolicy<null> {
  atLeastZero("the threshold of first-block", threshold);
  if (config.layers < 2)
    throw new ConfigError("first-block needs a model of two blocks or more; this one has a single block");
  return {
    kept: { part: "blocks", front: 1, back: 0, count: 1, measured: true },
    start: null,
    decide: (memory, { change }) => ({
      memory,
      reuse: change !== null && change <= threshold ? [1] : null,
    }),
  };
}
