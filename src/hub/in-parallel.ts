/** @file Runs work over a list, a few items at a time. */
import { CancelledError } from "../errors.ts";

/**
 * Runs over all items, at most `limit` at a time, and gives the results in their order. After a failure the rest is
 * stopped through the signal that `run` gets, and waited for; the failure is then thrown.
 */
export async function inParallel<T, R>(
  items: readonly T[],
  limit: number,
  signal: AbortSignal | undefined,
  run: (item: T, signal: AbortSignal) => Promise<R>,
): Promise<R[]> {
  const stop = new AbortController();
  const abort = () => stop.abort();
  signal?.addEventListener("abort", abort);
  if (signal?.aborted) abort();
  const results: R[] = [];
  const failures: unknown[] = [];
  let next = 0;
  const worker = async () => {
    while (next < items.length && failures.length === 0) {
      const i = next++;
      try {
        results[i] = await run(items[i], stop.signal);
      } catch (error) {
        failures.push(error);
        stop.abort();
      }
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker));
  } finally {
    signal?.removeEventListener("abort", abort);
  }
  // The others were stopped because of the first real failure.
  if (failures.length > 0) throw failures.find((error) => !(error instanceof CancelledError)) ?? failures[0];
  return results;
}
