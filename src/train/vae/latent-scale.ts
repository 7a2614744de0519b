/** @file The factor that brings a trained VAE's latents to unit deviation. */
import { ConfigError } from "../../errors.ts";

export type LatentStatistics = {
  readonly mean: number;
  readonly deviation: number;
  /** `scaling_factor` of the configuration: 1 / deviation, so that the transformer sees latents of deviation 1. */
  readonly scalingFactor: number;
};

/**
 * Mean and deviation over all values of the given latents, all channels alike, in one pass (Welford 1962).
 * @throws ConfigError when there are fewer than two values, or all are equal
 */
export function latentStatistics(latents: Iterable<ArrayLike<number>>): LatentStatistics {
  let [count, mean, squares] = [0, 0, 0];
  for (const values of latents)
    for (let i = 0; i < values.length; i++) {
      const before = values[i] - mean;
      mean += before / ++count;
      squares += before * (values[i] - mean);
    }
  const deviation = Math.sqrt(squares / count);
  if (!(deviation > 0))
    throw new ConfigError(`latents to scale must have at least two different values, got ${count} values`);
  return { mean, deviation, scalingFactor: 1 / deviation };
}
