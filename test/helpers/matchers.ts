/** @file Custom matcher for numeric arrays; reports the worst index and both values. */
import { expect } from "vitest";

type Numbers = ArrayLike<number>;

declare module "vitest" {
  interface Matchers<T> {
    /** Every element within `atol + rtol * |expected|`; NaN never matches. */
    toBeCloseToArray(expected: Numbers, tolerance?: { atol?: number; rtol?: number }): T;
  }
}

expect.extend({
  toBeCloseToArray(actual: Numbers, expected: Numbers, { atol = 1e-4, rtol = 0 } = {}) {
    if (actual.length !== expected.length)
      return {
        pass: false,
        message: () => `lengths differ: got ${actual.length}, expected ${expected.length}`,
      };
    let worst = -1;
    let worstExcess = 0;
    for (let i = 0; i < expected.length; i++) {
      const difference = Math.abs(actual[i] - expected[i]);
      const excess = difference - (atol + rtol * Math.abs(expected[i]));
      if (!(excess <= worstExcess)) {
        worst = i;
        worstExcess = Number.isNaN(excess) ? Number.POSITIVE_INFINITY : excess;
      }
    }
    return {
      pass: worst < 0,
      message: () =>
        worst < 0
          ? "arrays are close"
          : `worst at index ${worst}: got ${actual[worst]}, expected ${expected[worst]} (atol ${atol}, rtol ${rtol})`,
    };
  },
});
