/** @file What a feature cache knows of one window of a clip, or of a clip without windows. */
import type { Engine } from "../../runtime/engine.ts";
import { type Evaluations, noEvaluations } from "./evaluations.ts";
import { KeptTensors, type SavedTensors } from "./kept-tensors.ts";

/** A `WindowCache` between two steps; `structuredClone` copies it. */
export type WindowState = {
  /** The step that was evaluated last; null before the first. */
  readonly step: number | null;
  readonly memory: unknown;
  readonly tensors: SavedTensors;
};

/** The memory of a cache and the tensors that go with it; windows do not share them, since each shows other frames. */
export class WindowCache {
  /** The step that was evaluated last; null before the first. */
  step: number | null;
  /** What decisions leave for the next one. */
  memory: unknown;
  /** How much of the last step was evaluated. */
  evaluations: Evaluations = noEvaluations;
  readonly tensors: KeptTensors;
  private stored: SavedTensors | null;

  /** @param saved a cache to go on as */
  constructor(engine: Engine, saved?: WindowState) {
    this.tensors = new KeptTensors(engine);
    this.step = saved?.step ?? null;
    this.memory = saved?.memory ?? null;
    this.stored = saved?.tensors ?? null;
  }

  /** Makes ready for a step. What is kept serves the step after the last one; before any other the memory is `start`. */
  async prepare(step: number, start: unknown): Promise<void> {
    if (this.stored) await this.tensors.restore(this.stored);
    this.stored = null;
    if (this.step === step - 1) return;
    this.memory = start;
    await this.tensors.clear();
  }

  async save(): Promise<WindowState> {
    return { step: this.step, memory: this.memory, tensors: await this.tensors.save() };
  }
}
