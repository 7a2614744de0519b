/** @file DBCache: blocks at both ends are computed in every step, those between while the front moves (cache-dit). */
import { ConfigError } from "../../errors.ts";
import { atLeastZero, wholeFrom } from "./option-checks.ts";
import type { CachePolicy, CacheRun } from "./policy.ts";

/** Leaves the blocks between front and back out while the front moves little. Defaults are those of cache-dit. */
export type DbCacheOptions = {
  readonly kind: "dbcache";
  /** Relative change of what the front adds below which the middle is left out; 0.08 unless given. */
  readonly threshold?: number;
  /** Blocks at the front; 8 unless given, a third of the blocks for models of fewer than 24. */
  readonly front?: number;
  /** Blocks at the back; 0 unless given. */
  readonly back?: number;
  /** Steps at the beginning that compute everything; 8 unless given. */
  readonly warmup?: number;
  /** Steps in a row that may leave the middle out; any number unless given. */
  readonly most?: number;
};

/** Steps in a row that have left the middle out. */
type Memory = { readonly inRow: number };

/** DBCache as a policy. @throws ConfigError unless a block lies between front and back */
export function dbCache(options: DbCacheOptions, { config }: CacheRun): CachePolicy<Memory> {
  const { layers } = config;
  const { threshold = 0.08, front = Math.max(1, Math.min(8, Math.floor(layers / 3))), back = 0 } = options;
  const { warmup = 8, most = Number.POSITIVE_INFINITY } = options;
  atLeastZero("the threshold of dbcache", threshold);
  wholeFrom(1, "front of dbcache", front);
  wholeFrom(0, "back of dbcache", back);
  wholeFrom(0, "warmup of dbcache", warmup);
  if (most !== Number.POSITIVE_INFINITY) wholeFrom(1, "most of dbcache", most);
  if (front + back >= layers)
    throw new ConfigError(
      `dbcache computes ${front} blocks at the front and ${back} at the back, which leaves none of the model's ` +
        `${layers} blocks between them; give a smaller front or back`,
    );
  return {
    kept: { part: "blocks", front, back, count: 1, measured: true },
    start: { inRow: 0 },
    decide: ({ inRow }, { step, change }) =>
      change !== null && change < threshold && step >= warmup && inRow < most
        ? { memory: { inRow: inRow + 1 }, reuse: [1] }
        : { memory: { inRow: 0 }, reuse: null },
  };
}
