/** @file The training loop: a generator of steps. What is done with them, saving above all, is up to who consumes it. */
import { CancelledError } from "../errors.ts";
import type { Learner, MicroBatch, StepReport } from "./learner.ts";

/** Something to be trained, as functions of the step, which counts from 1; nothing else may change what they give. */
export type TrainingTask = {
  readonly steps: number;
  /** Learning rate. */
  readonly rate: (step: number) => number;
  /** What the moving average of the weights keeps of itself, 0 to 1. */
  readonly averageDecay: (step: number) => number;
  /** What the step learns from; prepared while the step before it runs. */
  readonly batches: (step: number) => readonly MicroBatch[] | Promise<readonly MicroBatch[]>;
};

/** One step that has been done. */
export type TrainingStep = StepReport & {
  readonly step: number;
  readonly rate: number;
  /** Wall-clock time from the end of the step before. */
  readonly seconds: number;
};

/**
 * Trains until the task's last step. The learner stands still between two steps of the generator, so that the consumer
 * can save it, sample from it, or end the loop there.
 * @param done steps that the learner has behind it
 * @throws CancelledError between steps, or within one before its weights change, when `signal` fires
 */
export async function* train(
  learner: Learner,
  task: TrainingTask,
  { done = 0, signal }: { done?: number; signal?: AbortSignal } = {},
): AsyncGenerator<TrainingStep> {
  let prepared = Promise.resolve(task.batches(done + 1));
  for (let step = done + 1; step <= task.steps; step++) {
    if (signal?.aborted) throw new CancelledError(`stopped before training step ${step}`);
    const start = performance.now();
    const batches = await prepared;
    const rate = task.rate(step);
    const running = learner.step(step, rate, batches, { averageDecay: task.averageDecay(step), signal });
    if (step < task.steps) prepared = soon(() => task.batches(step + 1));
    const report = await running;
    yield { ...report, step, rate, seconds: (performance.now() - start) / 1000 };
  }
}

/** Runs `prepare` when the engine has been given its work. A failure is reported where the result is awaited. */
function soon<T>(prepare: () => T | Promise<T>): Promise<T> {
  const result = new Promise<T>((resolve, reject) => {
    setImmediate(() => {
      Promise.resolve().then(prepare).then(resolve, reject);
    });
  });
  result.catch(() => {});
  return result;
}
