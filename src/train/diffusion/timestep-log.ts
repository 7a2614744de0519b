/** @file The loss by timestep: running means over bands of noise, as plain JSON. */
import { ConfigError } from "../../errors.ts";

/** One band of timesteps. */
export type TimestepBand = {
  /** First timestep, and the one behind the last. */
  readonly from: number;
  readonly to: number;
  /** Losses seen so far. */
  readonly count: number;
  /** Their running mean; 0 while there are none. */
  readonly mean: number;
};

/** Running means of the loss by timestep; a value that goes into a checkpoint or a metrics file as it is. */
export type TimestepLog = {
  readonly timesteps: number;
  /** How many losses a mean remembers: the newest has at least the weight 1 / memory. */
  readonly memory: number;
  readonly bands: readonly TimestepBand[];
};

/** A log that has seen nothing. @throws ConfigError when there are more bands than timesteps */
export function emptyTimestepLog({ timesteps = 1000, bands = 10, memory = 1000 } = {}): TimestepLog {
  if (!Number.isInteger(bands) || bands < 1 || bands > timesteps)
    throw new ConfigError(`bands must be a whole number in 1 to ${timesteps}, got ${bands}`);
  const border = (i: number) => Math.ceil((i * timesteps) / bands);
  const list = Array.from({ length: bands }, (_, i) => ({
    from: border(i),
    to: border(i + 1),
    count: 0,
    mean: 0,
  }));
  return { timesteps, memory, bands: list };
}

/**
 * The log with one more loss for each of `timesteps`. Losses that are not finite are left out: one would stay in the
 * mean for good. @throws ConfigError when the lists differ in length or a timestep is outside the schedule
 */
export function logLosses(
  log: TimestepLog,
  timesteps: ArrayLike<number>,
  losses: ArrayLike<number>,
): TimestepLog {
  if (timesteps.length !== losses.length)
    throw new ConfigError(`${timesteps.length} timesteps cannot have ${losses.length} losses`);
  const bands = [...log.bands];
  for (let i = 0; i < timesteps.length; i++) {
    const t = timesteps[i];
    const at = bands.findIndex(({ from, to }) => from <= t && t < to);
    if (at < 0) throw new ConfigError(`timestep must be in 0 to ${log.timesteps - 1}, got ${t}`);
    if (Number.isFinite(losses[i])) bands[at] = withLoss(bands[at], losses[i], log.memory);
  }
  return { ...log, bands };
}

function withLoss(band: TimestepBand, loss: number, memory: number): TimestepBand {
  const count = band.count + 1;
  return { ...band, count, mean: band.mean + (loss - band.mean) / Math.min(count, memory) };
}
