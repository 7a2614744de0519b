/** @file Fills the cache before training; killed at any moment, it goes on where it was. */
import { CancelledError, SessionError } from "../../errors.ts";
import type { Cache, Wanted } from "./cache.ts";
import type { Floats } from "./entry.ts";
import type { Moments } from "./moments.ts";

type Work<T> = Wanted & {
  /** What it is called in progress and messages. */
  readonly name: string;
  readonly encode: (signal?: AbortSignal) => Promise<T>;
};

/** An entry to be made where it is missing. */
export type PrecomputeJob =
  | (Work<Moments> & { readonly kind: "moments" })
  | (Work<Floats> & { readonly kind: "text" });

/** One job that has been looked after. */
export type PrecomputeProgress = {
  readonly done: number;
  readonly total: number;
  readonly name: string;
  /** "kept" was there and whole; "failed" only where failures are skipped, with the reason in `problem`. */
  readonly outcome: "kept" | "computed" | "failed";
  readonly problem: string | null;
  readonly seconds: number;
};

/**
 * Looks after the jobs one by one. Entries appear whole or not at all, so that the same call after a kill keeps what is
 * there and makes the rest.
 * @param skipFailures go on after a clip that cannot be read or encoded
 * @throws CancelledError between jobs when `signal` fires, or whatever `encode` throws
 */
export async function* precompute(
  cache: Cache,
  jobs: readonly PrecomputeJob[],
  { signal, skipFailures = false }: { signal?: AbortSignal; skipFailures?: boolean } = {},
): AsyncGenerator<PrecomputeProgress> {
  const total = jobs.length;
  for (const [index, job] of jobs.entries()) {
    if (signal?.aborted)
      throw new CancelledError(
        `stopped after ${index} of ${total} entries of the cache in "${cache.folder}"; the same call continues`,
      );
    const start = performance.now();
    const { misses } = cache.counts;
    const problem = await run(cache, job, signal).then(
      () => null,
      (error) => {
        if (skipFailures && !(error instanceof CancelledError)) return (error as Error).message;
        throw error;
      },
    );
    const outcome = problem !== null ? "failed" : cache.counts.misses > misses ? "computed" : "kept";
    const seconds = (performance.now() - start) / 1000;
    yield { done: index + 1, total, name: job.name, outcome, problem, seconds };
  }
}

async function run(cache: Cache, job: PrecomputeJob, signal: AbortSignal | undefined): Promise<void> {
  if (job.kind === "moments") await cache.momentsOf(job, () => job.encode(signal));
  else await cache.textOf(job, () => job.encode(signal));
}

/** What to give as `encode` when the encoders are gone: says which entry is missing and how to get it. */
export function withoutEncoder(name: string): () => Promise<never> {
  return async () => {
    throw new SessionError(
      `the cache has no whole entry for ${name}, and its encoder is not loaded; precompute again`,
    );
  };
}
