/** @file Frame rates as exact fractions, which is how containers store them. */
import { ConfigError } from "../errors.ts";

/** Positive fraction `num / den`. */
export interface Fraction {
  readonly num: number;
  readonly den: number;
}

/**
 * The fraction meant by `fps` frames per second: 8 is 8/1, 7.5 is 15/2, and 23.976, 29.97, 59.94 are the broadcast
 * rates n * 1000/1001. Throws ConfigError unless 0 < fps <= 1000.
 */
export function frameRate(fps: number): Fraction {
  if (!(fps > 0 && fps <= 1000))
    throw new ConfigError(
      `fps must be a number above 0 and at most 1000, got ${fps}; the models make 8 or 16`,
    );
  if (Number.isInteger(fps)) return { num: fps, den: 1 };
  const broadcast = Math.round(fps * 1.001);
  if (Math.abs(fps * 1.001 - broadcast) < 1e-4) return { num: broadcast * 1000, den: 1001 };
  return nearestFraction(fps, 1e-7, 10_000);
}

/** First convergent of the continued fraction of `value` within a relative `tolerance`, or the last below `maxDen`. */
function nearestFraction(value: number, tolerance: number, maxDen: number): Fraction {
  let [num, den, previousNum, previousDen] = [Math.floor(value), 1, 1, 0];
  let rest = value - num;
  while (num === 0 || Math.abs(num / den - value) > tolerance * value) {
    const inverse = 1 / rest;
    const digit = Math.floor(inverse);
    const next = { num: digit * num + previousNum, den: digit * den + previousDen };
    if (next.den > maxDen && num > 0) break;
    [previousNum, previousDen, num, den] = [num, den, next.num, next.den];
    rest = inverse - digit;
  }
  return { num, den };
}
