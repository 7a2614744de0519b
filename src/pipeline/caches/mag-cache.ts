/** @file MagCache: how the magnitude of what the blocks add falls from step to step is the same for all prompts (Ma et al. 2025). */
import { ConfigError } from "../../errors.ts";
import { atLeastZero, wholeFrom } from "./option-checks.ts";
import type { CachePolicy, CacheRun } from "./policy.ts";

/** Leaves all blocks out while the magnitudes that were measured before say that little changes. */
export type MagCacheOptions = {
  readonly kind: "magcache";
  /** Ratios of magnitudes from each step to the next, as `calibrate` measures them; any number of steps. */
  readonly ratios?: readonly number[];
  /** File that `calibrate` has written them to; `magcache.json` in the checkpoint's folder unless given. */
  readonly ratiosFile?: string;
  /** Accumulated error up to which the blocks are left out; 0.06 unless given. */
  readonly threshold?: number;
  /** Steps in a row that may leave the blocks out; 3 unless given. */
  readonly most?: number;
  /** Share of the steps at the beginning that compute everything; 0.2 unless given. */
  readonly retention?: number;
};

/** What has come together since the blocks were last computed. */
type Memory = { readonly ratio: number; readonly error: number; readonly steps: number };

const fresh: Memory = { ratio: 1, error: 0, steps: 0 };

/** MagCache as a policy. @throws ConfigError without ratios */
export function magCache(options: MagCacheOptions, { timesteps }: CacheRun): CachePolicy<Memory> {
  const { ratios = [], threshold = 0.06, most = 3, retention = 0.2 } = options;
  atLeastZero("the threshold of magcache", threshold);
  wholeFrom(1, "most of magcache", most);
  if (!(retention >= 0 && retention <= 1))
    throw new ConfigError(`retention of magcache must be 0 to 1, got ${retention}`);
  if (ratios.length === 0 || !ratios.every((ratio) => Number.isFinite(ratio) && ratio > 0))
    throw new ConfigError(
      "magcache needs the ratios of magnitudes that `cogvideox calibrate` measures, numbers above 0",
    );
  const fitted = nearestRatios(ratios, timesteps.length);
  const retained = Math.floor(retention * timesteps.length + 0.5);
  return {
    kept: { part: "blocks", front: 0, back: 0, count: 1 },
    start: fresh,
    decide: (before, { step, available }) => {
      if (step < retained) return { memory: before, reuse: null };
      const ratio = before.ratio * fitted[step];
      const memory = { ratio, error: before.error + Math.abs(1 - ratio), steps: before.steps + 1 };
      const isSkipped = available > 0 && memory.error <= threshold && memory.steps <= most;
      return isSkipped ? { memory, reuse: [1] } : { memory: fresh, reuse: null };
    },
  };
}

/** Ratios for another number of steps: those at the nearest places, halves to the even one; the last for a single step. */
export function nearestRatios(ratios: readonly number[], steps: number): number[] {
  if (ratios.length === steps) return [...ratios];
  if (steps === 1) return [ratios[ratios.length - 1]];
  const stretch = Math.fround((ratios.length - 1) / (steps - 1));
  return Array.from({ length: steps }, (_, i) => ratios[roundHalfToEven(Math.fround(i * stretch))]);
}

function roundHalfToEven(x: number): number {
  const below = Math.floor(x);
  if (x - below !== 0.5) return Math.round(x);
  return below % 2 === 0 ? below : below + 1;
}
