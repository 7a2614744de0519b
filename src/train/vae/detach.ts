/** @file Values that no gradient passes through. */
import { round } from "../../graph/functions.ts";
import type { Tensor } from "../../graph/tensor.ts";

/** So large that rounding a float32 times this changes nothing down to 2^-73, and float32 holds values to 2^31. */
const SCALE = 2 ** 96;

/**
 * `x` without its gradient. Rounding has none, and is exact where numbers are large: values of 2^-73 to 2^31 stay bit
 * for bit what they are, smaller ones are off by at most 2^-97.
 */
export function detach(x: Tensor): Tensor {
  return round(x.mul(SCALE)).mul(1 / SCALE);
}
