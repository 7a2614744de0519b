/** @file Feature caches in a run: set up, told of, and saved with it. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { ConfigError } from "../../errors.ts";
import type { TransformerConfig } from "../../models/transformer/config.ts";
import type { Engine } from "../../runtime/engine.ts";
import type { WeightSet } from "../../weights/checkpoint.ts";
import { Denoiser, type DenoiserCall, type Predictor } from "../denoiser.ts";
import { CachedDenoiser, type CachedRun, type CacheState } from "./cached-denoiser.ts";
import { type CacheOptions, policyOf } from "./caches.ts";
import { CALIBRATION_FILE, readCoefficients, readRatios } from "./calibration-file.ts";
import { addEvaluations, type Evaluations } from "./evaluations.ts";
import type { MagCacheOptions } from "./mag-cache.ts";
import type { TeaCacheOptions } from "./tea-cache.ts";

/** What a "step" event says of the cache of its run. */
export type StepCache = {
  /** What was evaluated in this step. */
  readonly evaluations: Evaluations;
  /** The memory of the cache, plain data. */
  readonly memory: unknown;
  /** Everything that a resumed run needs of the cache; to be called before the next step begins. */
  readonly save: () => Promise<CacheState>;
};

/** A denoiser, with a cache where the run has one, which goes on from `saved` where that fits. */
export function denoiserFor(
  engine: Engine,
  { config, weights }: { readonly config: TransformerConfig; readonly weights: WeightSet },
  call: DenoiserCall,
  { cache, saved, ...run }: Omit<CachedRun, "cache"> & { cache?: CacheOptions; saved?: CacheState },
): Predictor {
  if (cache === undefined) return new Denoiser(engine, config, weights, call);
  const denoiser = new CachedDenoiser(engine, config, weights, { ...call, run: { ...run, cache } });
  if (saved) denoiser.resume(saved);
  return denoiser;
}

/** What the denoisers of a run, of which one has done `step`, say of their cache. */
export function cacheOfStep(
  step: number,
  ...denoisers: readonly (Predictor | undefined)[]
): StepCache | undefined {
  for (const denoiser of denoisers)
    if (denoiser instanceof CachedDenoiser && denoiser.lastStep === step)
      return {
        evaluations: denoiser.evaluations,
        memory: denoiser.memory,
        save: () => denoiser.save(),
      };
  return undefined;
}

/**
 * The options with everything that lies in files: the ratios of magcache and the polynomial of teacache, from the file
 * they name or from `magcache.json` in the checkpoint's folder.
 * @throws ConfigError without such a file; teacache does without one that is not named
 */
export async function loadedCache(
  cache: CacheOptions | undefined,
  folder: string,
): Promise<CacheOptions | undefined> {
  const file = calibrationFile(cache, folder);
  if (file === null || cache === undefined) return cache;
  if (cache.kind === "teacache") return loadedTeaCache(cache, file, folder);
  const { ratiosFile: _, ...options } = cache as MagCacheOptions;
  if (!existsSync(file))
    throw new ConfigError(
      `magcache needs the ratios of magnitudes of this model, but there is no ${file}; measure them with ` +
        `cogvideox calibrate --model ${folder}`,
    );
  return { ...options, ratios: await readRatios(file) };
}

/** The file that a cache looks for, whether it is there or not; null for one that needs none. */
export function calibrationFile(cache: CacheOptions | undefined, folder: string): string | null {
  const own = join(folder, CALIBRATION_FILE);
  if (cache?.kind === "magcache") return cache.ratios ? null : (cache.ratiosFile ?? own);
  if (cache?.kind === "teacache") return cache.coefficients ? null : (cache.coefficientsFile ?? own);
  return null;
}

async function loadedTeaCache(
  { coefficientsFile: named, ...options }: TeaCacheOptions,
  file: string,
  folder: string,
): Promise<TeaCacheOptions> {
  const coefficients = named !== undefined || existsSync(file) ? await readCoefficients(file) : null;
  if (coefficients) return { ...options, coefficients };
  if (named === undefined) return options;
  throw new ConfigError(
    `${file} holds no polynomial for teacache; measure it with cogvideox calibrate --model ${folder}`,
  );
}

/** Refuses, before anything is loaded, a cache that cannot serve a run. @throws ConfigError */
export async function requireCache(
  cache: CacheOptions | undefined,
  { folder, transformer }: { readonly folder: string; readonly transformer: { config: TransformerConfig } },
  run: { readonly steps: number; readonly isGuidedPair: boolean },
): Promise<void> {
  const loaded = await loadedCache(cache, folder);
  const timesteps = Array.from({ length: run.steps }, () => 0);
  if (loaded) policyOf(loaded, { ...run, config: transformer.config, timesteps, conditioningChanges: [] });
}

/** Passes events on, and adds up what the steps among them have evaluated; null where no step says anything. */
export async function* counted<E extends { readonly kind: string }, R>(
  events: AsyncGenerator<E, R>,
): AsyncGenerator<E, { readonly result: R; readonly evaluations: Evaluations | null }> {
  let evaluations: Evaluations | null = null;
  try {
    let next = await events.next();
    while (!next.done) {
      const { cache } = next.value as { readonly cache?: StepCache };
      if (cache)
        evaluations = evaluations ? addEvaluations(evaluations, cache.evaluations) : cache.evaluations;
      yield next.value;
      next = await events.next();
    }
    return { result: next.value, evaluations };
  } finally {
    // A consumer that stops early must stop what is inside too.
    await events.return(undefined as R);
  }
}
