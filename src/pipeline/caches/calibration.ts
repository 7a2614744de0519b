/** @file What caches want to know of a model before they serve it, measured on a run that leaves nothing out. */
import type { CachePolicy, CacheRun } from "./policy.ts";
import { fitPolynomial } from "./polynomial.ts";

/** Measures what MagCache and TeaCache need; nothing is left out. */
export type CalibrationOptions = { readonly kind: "calibration" };

/** Of all steps so far. */
export type Measured = {
  /** How the magnitude of what the blocks add has grown since the step before; 1 for the first, which follows none. */
  readonly ratios: readonly number[];
  /** How far the prediction has moved since the step before, see `CachePolicy.observe`; 0 for the first. */
  readonly changes: readonly number[];
  /** See `CacheRun.conditioningChanges`; of all steps of the run from the start. */
  readonly conditioningChanges: readonly number[];
};

/** A policy that computes everything and learns on the way. */
export function calibration(_: CalibrationOptions, { conditioningChanges }: CacheRun): CachePolicy<Measured> {
  return {
    kept: { part: "blocks", front: 0, back: 0, count: 1 },
    start: { ratios: [], changes: [], conditioningChanges },
    decide: (memory) => ({ memory, reuse: null }),
    learn: (memory, growth) => ({ ...memory, ratios: [...memory.ratios, growth ?? 1] }),
    observe: (memory, change) => ({ ...memory, changes: [...memory.changes, change ?? 0] }),
  };
}

/** TeaCache's polynomial for a model: of degree 4, from changes of the conditioning to those of the prediction. */
export function teaCacheCoefficients({ changes, conditioningChanges }: Measured): number[] {
  return fitPolynomial(conditioningChanges.slice(1), changes.slice(1), 4);
}
