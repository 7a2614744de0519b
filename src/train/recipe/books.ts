/** @file What is written down of every step of a run: its metrics file, its event file, and what is told of it. */
import type { TimestepLog } from "../diffusion/timestep-log.ts";
import { type MetricsLog, openMetrics } from "../run/metrics.ts";
import type { Pace } from "../run/progress.ts";
import { type EventFile, openEventFile } from "../run/tensorboard.ts";
import type { PlannedStage } from "./stages.ts";
import type { StageStep, Validated } from "./trainee.ts";

/** One step of a run in numbers. Steps count over all stages; `stageStep` within one. */
export type StepNumbers = Omit<StageStep, "step" | "byTimestep" | "operations"> & {
  readonly stage: string;
  readonly step: number;
  readonly stageStep: number;
  /** Share of the engines' measured peak that the step's products had, 0 to 1. */
  readonly share: number;
  /** Of recent steps of the stage. */
  readonly clipsPerSecond: number;
  /** Until the stage is done. */
  readonly secondsLeft: number;
  /** Running means of the loss by timestep, from clean to noise; null where no loss has been seen. */
  readonly bands: readonly (number | null)[] | null;
};

/** What the numbers of a step are made of. */
export type StepFacts = {
  readonly planned: PlannedStage;
  readonly step: StageStep;
  readonly log: TimestepLog;
  readonly pace: Pace;
  /** Operations a second of the engines, from `measurePeak`. */
  readonly peak: number;
};

export function stepNumbers({ planned, step: done, log, pace, peak }: StepFacts): StepNumbers {
  const { step: stageStep, byTimestep, operations, ...numbers } = done;
  return {
    ...numbers,
    stage: planned.name,
    step: planned.stepsBefore + stageStep,
    stageStep,
    share: operations / numbers.seconds / peak,
    clipsPerSecond: pace.clipsPerSecond,
    secondsLeft: pace.secondsLeft,
    bands: byTimestep ? log.bands.map(({ count, mean }) => (count === 0 ? null : mean)) : null,
  };
}

/** The books of a run, open for more steps. */
export class Books {
  private readonly metrics: MetricsLog;
  private readonly events: EventFile;

  constructor(metrics: MetricsLog, events: EventFile) {
    this.metrics = metrics;
    this.events = events;
  }

  /** Writes a step down in both. */
  async note({ planned, log }: StepFacts, numbers: StepNumbers): Promise<void> {
    const { stage, step, stageStep, bands, parts, ...measured } = numbers;
    const byBand = (bands ?? []).flatMap((mean, i) =>
      mean === null ? [] : [[`loss_from_${log.bands[i].from}`, mean] as const],
    );
    const all: Record<string, number> = { ...measured, ...parts, ...Object.fromEntries(byBand) };
    await this.metrics.add({ step, stage, ...all });
    const tagged = Object.entries(all).map(([name, value]) => [`${planned.kind}/${name}`, value]);
    await this.events.scalars(step, Object.fromEntries(tagged));
  }

  /** Writes losses of held-out clips down in both, on a line of their own. */
  async noteValidation({ name, kind }: PlannedStage, step: number, validated: Validated): Promise<void> {
    const { loss, byTimestep } = validated;
    const byName = byTimestep.map(({ timestep, loss }) => [`validation_at_${timestep}`, loss] as const);
    const all = { validation: loss, ...Object.fromEntries(byName) };
    await this.metrics.add({ step, stage: name, ...all });
    const tagged = Object.entries(all).map(([name, value]) => [`${kind}/${name}`, value]);
    await this.events.scalars(step, Object.fromEntries(tagged));
  }

  /** Shows the bytes of a PNG file in TensorBoard, as the `count`-th sample of a step. */
  async noteSample({ kind }: PlannedStage, step: number, count: number, png: Uint8Array): Promise<void> {
    await this.events.image(step, `${kind}/sample_${count}`, png);
  }

  /** Makes what was noted survive a loss of power; a save should come after it. */
  sync(): Promise<void> {
    return this.metrics.sync();
  }

  async close(): Promise<void> {
    await this.metrics.close();
    await this.events.close();
  }
}

/**
 * The books of a run's folder behind its step `done`; what was noted of later steps is removed.
 * @param recipe its text, which the event file shows
 */
export async function openBooks(
  { folder, metricsFile }: { readonly folder: string; readonly metricsFile: string },
  done: number,
  recipe: string,
): Promise<Books> {
  const metrics = await openMetrics(metricsFile, done);
  const events = await openEventFile(folder, done + 1);
  // Indented by four, Markdown shows text as it is.
  await events.text(done + 1, "recipe", recipe.replaceAll(/^/gm, "    "));
  return new Books(metrics, events);
}
