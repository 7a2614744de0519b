/** @file TeaCache: the change of the conditioning vector foretells the change of the output (Liu et al. 2024). */
import type { TransformerConfig } from "../../models/transformer/config.ts";
import { atLeastZero } from "./option-checks.ts";
import type { CachePolicy, CacheRun } from "./policy.ts";
import { valueAt } from "./polynomial.ts";

/** Leaves all blocks out while the foretold change stays small. */
export type TeaCacheOptions = {
  readonly kind: "teacache";
  /** Foretold change at which the blocks are computed again; 0.1 unless given, the authors also use 0.2 and 0.3. */
  readonly threshold?: number;
  /** Polynomial from changes of the conditioning to changes of the output, highest power first. */
  readonly coefficients?: readonly number[];
  /**
   * File that `calibrate` has written it to. Unless given, `magcache.json` in the checkpoint's folder, and where that has
   * none, the polynomial that was published for such a model.
   */
  readonly coefficientsFile?: string;
};

/** Fitted by the authors of TeaCache (repository ali-vilab/TeaCache, TeaCache4CogVideoX1.5), highest power first. */
const published = {
  "2b": [-3.10658903e1, 2.54732368e1, -5.92380459, 1.75769064, -3.61568434e-3],
  "5b": [-1.53880483e3, 8.43202495e2, -1.34363087e2, 7.97131516, -5.23162339e-2],
  "1.5": [2.50210439e2, -1.65061612e2, 3.57804877e1, -7.81551492e-1, 3.58559703e-2],
  "1.5-I2V": [1.22842302e2, -1.04088754e2, 2.62981677e1, -3.06009921e-1, 3.7121322e-2],
} as const;

/** The published polynomial of the model that a configuration belongs to. */
export function publishedCoefficients({ rotary, patchT, inChannels, outChannels }: TransformerConfig) {
  if (patchT !== null) return published[inChannels > outChannels ? "1.5-I2V" : "1.5"];
  return published[rotary ? "5b" : "2b"];
}

/** Whether each step leaves the blocks out, known before the run; the first and the last step never do. */
export function teaCacheSkips(
  changes: readonly number[],
  { threshold, coefficients }: Required<Pick<TeaCacheOptions, "threshold" | "coefficients">>,
): boolean[] {
  let foretold = 0;
  return changes.map((change, step) => {
    const isEnd = step === 0 || step === changes.length - 1;
    // A step may foretell a negative change, as in the reference.
    foretold += isEnd ? 0 : valueAt(coefficients, change);
    if (!isEnd && foretold < threshold) return true;
    foretold = 0;
    return false;
  });
}

/** TeaCache as a policy; it remembers nothing, because its decisions are made before the run. */
export function teaCache(
  { threshold = 0.1, coefficients }: TeaCacheOptions,
  { config, conditioningChanges }: CacheRun,
): CachePolicy<null> {
  atLeastZero("the threshold of teacache", threshold);
  const skips = teaCacheSkips(conditioningChanges, {
    threshold,
    coefficients: coefficients ?? publishedCoefficients(config),
  });
  return {
    kept: { part: "blocks", front: 0, back: 0, count: 1 },
    start: null,
    decide: (memory, { step, available }) => ({ memory, reuse: skips[step] && available > 0 ? [1] : null }),
  };
}
