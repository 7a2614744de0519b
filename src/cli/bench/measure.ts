/** @file Seconds and memory of a piece of work: one run to warm up, then the median of a few. */
import { readMemory, resetPeak, watchAnonymous } from "../../runtime/memory.ts";
import { mebibytes } from "../numbers.ts";

/** What timed runs took. */
export type Measurement = {
  /** Median of the runs. */
  readonly seconds: number;
  /** Highest resident memory, mapped weights included, warm-up included. */
  readonly peakRssMiB: number;
  /** Highest anonymous memory: what the kernel cannot drop. */
  readonly peakAnonMiB: number;
  /** Anonymous memory before the work, with the engine started and nothing loaded. */
  readonly idleAnonMiB: number;
};

/** Runs `work` once to warm up and `runs` times for the clock; with `runs` 0 the warm-up itself is timed. */
export async function measure(runs: number, work: () => Promise<unknown>): Promise<Measurement> {
  resetPeak();
  const idle = readMemory().anonymous;
  const anonymous = watchAnonymous();
  const times: number[] = [];
  let highest = idle;
  try {
    for (let run = 0; run <= runs; run++) times.push(await timed(work));
  } finally {
    highest = anonymous.stop();
  }
  const counted = runs === 0 ? times : times.slice(1);
  return {
    seconds: round(median(counted), 4),
    peakRssMiB: mebibytes(readMemory().peak),
    peakAnonMiB: mebibytes(highest),
    idleAnonMiB: mebibytes(idle),
  };
}

/** Operations of one run over its time, in 10^9 a second. */
export function gflops(operations: number, seconds: number): number {
  return round(operations / seconds / 1e9, 1);
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
