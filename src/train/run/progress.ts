/** @file How far a run is, how fast it goes and how long it still takes, in numbers and in a line for people. */

/** Steps that the estimate looks back on. */
const WINDOW = 100;

/** A step counts at most this many times the median: a machine that slept must not double the estimate. */
const LONGEST = 4;

export type Pace = {
  readonly secondsPerStep: number;
  readonly clipsPerSecond: number;
  readonly secondsLeft: number;
};

/** What a line tells of a step; what is left out is not told. */
export type StepFacts = {
  readonly step: number;
  readonly steps: number;
  readonly loss: number;
  readonly gradientNorm?: number;
  readonly rate?: number;
  /** Share of the machine's measured peak, 0 to 1. */
  readonly share?: number;
};

/** Measures a run's pace from the times at which its steps are done. */
export class Progress {
  private readonly steps: number;
  private readonly clipsPerStep: number;
  private readonly durations: number[] = [];
  private done: number;
  private at: number;

  /**
   * @param steps of the whole run
   * @param done steps that were done before, in a resumed run
   * @param now milliseconds of a clock that does not jump
   */
  constructor(
    steps: number,
    {
      done = 0,
      clipsPerStep = 1,
      now = performance.now(),
    }: { done?: number; clipsPerStep?: number; now?: number } = {},
  ) {
    this.steps = steps;
    this.clipsPerStep = clipsPerStep;
    this.done = done;
    this.at = now;
  }

  /** Notes that `step` (from 1) is done; steps in between share the time. */
  note(step: number, now = performance.now()): void {
    const count = step - this.done;
    if (count <= 0) return;
    const each = (now - this.at) / 1000 / count;
    for (let i = 0; i < Math.min(count, WINDOW); i++) this.durations.push(each);
    this.durations.splice(0, this.durations.length - WINDOW);
    this.done = step;
    this.at = now;
  }

  /** The pace of recent steps; null before the first. */
  pace(): Pace | null {
    if (this.durations.length === 0) return null;
    const limit = LONGEST * median(this.durations);
    const total = this.durations.reduce((sum, seconds) => sum + Math.min(seconds, limit), 0);
    const secondsPerStep = total / this.durations.length;
    return {
      secondsPerStep,
      clipsPerSecond: this.clipsPerStep / secondsPerStep,
      secondsLeft: secondsPerStep * Math.max(0, this.steps - this.done),
    };
  }
}

/**
 * Such as "step 1200/8000  loss 0.123  grad 0.45  lr 3.0e-4  21.3 clips/s  41 % of measured peak  12 min left".
 * @param pace null before the first step
 */
export function stepLine(
  { step, steps, loss, gradientNorm, rate, share }: StepFacts,
  pace: Omit<Pace, "secondsPerStep"> | null,
): string {
  const parts = [
    `step ${step}/${steps}`,
    `loss ${threeDigits(loss)}`,
    gradientNorm === undefined ? null : `grad ${threeDigits(gradientNorm)}`,
    rate === undefined ? null : `lr ${rate.toExponential(1)}`,
    pace === null ? null : speedText(pace.clipsPerSecond),
    share === undefined ? null : `${Math.round(share * 100)} % of measured peak`,
    pace === null ? null : `${durationText(pace.secondsLeft)} left`,
  ];
  return parts.filter((part) => part !== null).join("  ");
}

/** A time for people: "48 s", "12 min", "3 h 05 min", "2 d 7 h". */
export function durationText(seconds: number): string {
  if (!Number.isFinite(seconds)) return "unknown time";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

function speedText(clipsPerSecond: number): string {
  return clipsPerSecond >= 0.1
    ? `${threeDigits(clipsPerSecond)} clips/s`
    : `${threeDigits(1 / clipsPerSecond)} s/clip`;
}

function threeDigits(value: number): string {
  const size = Math.abs(value);
  if (value === 0 || !Number.isFinite(value)) return String(value);
  if (size < 1e-3 || size >= 1e5) return value.toExponential(2);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3);
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
