/** @file Checks of numbers that caches are given. */
import { ConfigError } from "../../errors.ts";

/** @throws ConfigError unless the value is a number from 0 on */
export function atLeastZero(what: string, value: number): void {
  if (!(value >= 0)) throw new ConfigError(`${what} must be a number from 0 on, got ${value}`);
}

/** @throws ConfigError unless the value is a whole number from `least` on */
export function wholeFrom(least: number, what: string, value: number): void {
  if (!Number.isInteger(value) || value < least)
    throw new ConfigError(`${what} must be a whole number from ${least} on, got ${value}`);
}

/** Whether a timestep lies strictly between two others. */
export function isBetween(timestep: number, [low, high]: readonly [number, number]): boolean {
  return low < timestep && timestep < high;
}
