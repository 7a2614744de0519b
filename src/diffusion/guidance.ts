/** @file Classifier-free guidance: how much a step follows the prompt, and the sum that does it. */
import { ShapeError } from "../errors.ts";

const f32 = Math.fround;

/** Guidance of a run. `scale` 1 and below means none; `dynamic` varies the weight from step to step. */
export type Guidance = { readonly scale: number; readonly dynamic?: boolean };

/** Whether the model has to run without the prompt too; decided once per run by the scale alone, dynamic or not. */
export function isGuided(guidance: Guidance): boolean {
  return guidance.scale > 1;
}

/**
 * The weight of one step, float64: the scale, or with dynamic guidance `1 + scale (1 - cos(pi ((n - t) / n)^5)) / 2`.
 * @param numSteps steps of the run; for video-to-video those left after the strength.
 * @param timestep the training timestep, 0 to 999. The formula was meant for a step index, but the released models were
 *   tuned with the timestep in it, so the weight jumps between 1 and 1 + scale.
 */
export function guidanceWeight(guidance: Guidance, numSteps: number, timestep: number): number {
  if (!guidance.dynamic) return guidance.scale;
  const phase = fifthPower((numSteps - timestep) / numSteps);
  return 1 + (guidance.scale * (1 - Math.cos(Math.PI * phase))) / 2;
}

/**
 * x^5, rounded once; x is 0 or at least 2^-17. The phase counts half turns and reaches 10^11 in runs of a few steps, so
 * its last bit shows in the weight, and the last bit of JavaScript's `**` is often wrong.
 */
function fifthPower(x: number): number {
  return Number(BigInt(x * 2 ** 70) ** 5n) * 2 ** -350;
}

/**
 * `unconditional + weight (conditional - unconditional)` in float32 (Ho & Salimans 2022); a new array.
 * @throws ShapeError when the lengths differ.
 */
export function combineGuidance(
  unconditional: Float32Array,
  conditional: Float32Array,
  weight: number,
): Float32Array {
  if (unconditional.length !== conditional.length) {
    throw new ShapeError(
      `unconditional has ${unconditional.length} elements, but must have ${conditional.length} like conditional`,
    );
  }
  const factor = f32(weight);
  return unconditional.map((u, i) => u + f32(factor * f32(conditional[i] - u)));
}
