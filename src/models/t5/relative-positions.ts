/** @file T5's relative positions: which row of the bias table a pair of tokens uses. */
import type { T5Config } from "./config.ts";

/** Bucket of every pair, `[length, length]` row-major: query i, key j, distance j - i. */
export function relativeBuckets(
  length: number,
  config: Pick<T5Config, "buckets" | "maxDistance">,
): Int32Array {
  return Int32Array.from({ length: length * length }, (_, n) =>
    bucketOf((n % length) - Math.floor(n / length), config),
  );
}

/** Half of the buckets look back and half ahead; of each half, half are exact and the rest grow logarithmically. */
function bucketOf(
  distance: number,
  { buckets, maxDistance }: Pick<T5Config, "buckets" | "maxDistance">,
): number {
  const half = buckets / 2;
  const exact = half / 2;
  const side = distance > 0 ? half : 0;
  const far = Math.abs(distance);
  if (far < exact) return side + far;
  const ratio = Math.fround(Math.log(Math.fround(far / exact))) / Math.fround(Math.log(maxDistance / exact));
  return side + Math.min(half - 1, exact + Math.trunc(Math.fround(Math.fround(ratio) * (half - exact))));
}
