/** @file Learning rates over the course of a run: a warm-up, then constant, linear or cosine. */

/** Shape of the learning rate. */
export type RateSchedule = {
  /** The rate at the end of the warm-up. */
  readonly rate: number;
  /** Steps over which the rate rises from 0 in a straight line. */
  readonly warmUp: number;
  readonly decay: "constant" | "linear" | "cosine";
  /** Share of `rate` that is left at the last step of a decay, 0 to 1. */
  readonly final: number;
};

/** Learning rate of the step-th of `steps` steps, counted from 1. Past the last step it stays what it was there. */
export function learningRate(
  step: number,
  steps: number,
  { rate, warmUp, decay, final }: RateSchedule,
): number {
  if (step <= warmUp) return (rate * step) / warmUp;
  if (decay === "constant") return rate;
  const way = Math.min((step - warmUp) / Math.max(steps - warmUp, 1), 1);
  const left = decay === "linear" ? 1 - way : (1 + Math.cos(Math.PI * way)) / 2;
  return rate * (final + (1 - final) * left);
}
