/** @file Running means of the loss by band of timesteps. */
import { expect, test } from "vitest";
import { ConfigError } from "../../errors.ts";
import { emptyTimestepLog, logLosses } from "./timestep-log.ts";

test("every loss counts in the band of its timestep", () => {
  const log = logLosses(emptyTimestepLog(), [0, 99, 100, 999], [1, 3, 5, 7]);
  expect(log.bands.map(({ mean }) => mean)).toEqual([2, 5, 0, 0, 0, 0, 0, 0, 0, 7]);
  expect(log.bands.map(({ count }) => count)).toEqual([2, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
  expect(log.bands[9]).toMatchObject({ from: 900, to: 1000 });
});

test("logging in two goes is logging in one, and leaves the log before as it was", () => {
  const empty = emptyTimestepLog({ timesteps: 10, bands: 3 });
  const once = logLosses(empty, [1, 5, 9, 2], [0.5, 0.25, 1, 2]);
  const twice = logLosses(logLosses(empty, [1, 5], [0.5, 0.25]), [9, 2], [1, 2]);
  expect(twice).toEqual(once);
  expect(empty.bands.every(({ count }) => count === 0)).toBe(true);
  expect(JSON.parse(JSON.stringify(once))).toEqual(once);
});

test("bands that do not divide the timesteps still cover each of them once", () => {
  const { bands } = emptyTimestepLog({ timesteps: 10, bands: 3 });
  expect(bands.map(({ from, to }) => [from, to])).toEqual([
    [0, 4],
    [4, 7],
    [7, 10],
  ]);
});

test("old losses fade once the memory is full", () => {
  const ones = logLosses(emptyTimestepLog({ memory: 4 }), Array(50).fill(0), Array(50).fill(1));
  expect(logLosses(ones, [0], [5]).bands[0].mean).toBe(2);
});

test("a loss that is not a number leaves the mean alone", () => {
  const log = logLosses(emptyTimestepLog(), [5, 5], [2, Number.NaN]);
  expect(log.bands[0]).toMatchObject({ count: 1, mean: 2 });
});

test("timesteps outside the schedule and missing losses are refused", () => {
  expect(() => logLosses(emptyTimestepLog(), [1000], [1])).toThrow(ConfigError);
  expect(() => logLosses(emptyTimestepLog(), [1, 2], [1])).toThrow("2 timesteps cannot have 1 losses");
  expect(() => emptyTimestepLog({ timesteps: 5 })).toThrow("bands must be a whole number in 1 to 5, got 10");
});
