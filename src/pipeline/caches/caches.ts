/** @file The feature caches by name. */
import { ConfigError } from "../../errors.ts";
import { type CalibrationOptions, calibration } from "./calibration.ts";
import { type DbCacheOptions, dbCache } from "./db-cache.ts";
import { type FasterCacheOptions, fasterCache } from "./faster-cache.ts";
import { type FirstBlockCacheOptions, firstBlockCache } from "./first-block-cache.ts";
import { type MagCacheOptions, magCache } from "./mag-cache.ts";
import type { CachePolicy, CacheRun } from "./policy.ts";
import { type PyramidBroadcastOptions, pyramidBroadcast } from "./pyramid-broadcast.ts";
import { type TaylorSeerOptions, taylorSeer } from "./taylor-seer.ts";
import { type TeaCacheOptions, teaCache } from "./tea-cache.ts";

/** Which features of earlier steps to reuse, told apart by `kind`; everything else has a default. */
export type CacheOptions =
  | TeaCacheOptions
  | FirstBlockCacheOptions
  | DbCacheOptions
  | PyramidBroadcastOptions
  | FasterCacheOptions
  | MagCacheOptions
  | CalibrationOptions
  | TaylorSeerOptions;

type Kind = CacheOptions["kind"];

const makers: {
  readonly [K in Kind]: (options: Extract<CacheOptions, { kind: K }>, run: CacheRun) => CachePolicy;
} = {
  teacache: teaCache,
  "first-block": firstBlockCache,
  dbcache: dbCache,
  pab: pyramidBroadcast,
  fastercache: fasterCache,
  magcache: magCache,
  calibration,
  taylorseer: taylorSeer,
};

/**
 * The cache as a policy for a run.
 * @throws ConfigError for an unknown kind, options out of range, or a run that the cache cannot serve
 */
export function policyOf<K extends Kind>(
  options: Extract<CacheOptions, { kind: K }>,
  run: CacheRun,
): CachePolicy {
  const kind: K = options.kind as K;
  if (!Object.hasOwn(makers, kind))
    throw new ConfigError(`cache must be one of ${Object.keys(makers).join(", ")}, got ${kind}`);
  return makers[kind](options, run);
}

/** Whether a cache wants to know how the conditioning vector will move. */
export function isForetold({ kind }: CacheOptions): boolean {
  return kind === "teacache" || kind === "calibration";
}
