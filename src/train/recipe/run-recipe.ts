/** @file A run from a recipe: its stages one after the other, saved, resumed, followed, and given out as a checkpoint. */
import { basename, join } from "node:path";
import { CancelledError, ConfigError } from "../../errors.ts";
import { exists } from "../../weights/file.ts";
import { emptyTimestepLog, logLosses, type TimestepLog } from "../diffusion/timestep-log.ts";
import type { TrainingTensors } from "../learner.ts";
import type { Json, Restored } from "../run/checkpoints.ts";
import { Progress } from "../run/progress.ts";
import { openRun, type Run } from "../run/run-folder.ts";
import { type Books, openBooks, type StepNumbers, stepNumbers } from "./books.ts";
import { giveOut, makeModelFolder, requireFree } from "./model-folder.ts";
import { heldOutClips, trainingClips } from "./open-clips.ts";
import { parseRecipe } from "./parse-recipe.ts";
import { type Sample, type ShownModel, samplesOf } from "./samples.ts";
import type { Recipe } from "./schema.ts";
import { checkStage } from "./stage-check.ts";
import { requireMemory } from "./stage-memory.ts";
import { finishStage, type OpenStage, openStage, type Place, showSamples } from "./stage-work.ts";
import { changedFields, type PlannedStage, planStages, totalSteps } from "./stages.ts";
import type { StageStart, Trainee, Validated } from "./trainee.ts";

/** What a run tells. Steps count over all stages; `stageStep` within one. */
export type RecipeEvent =
  | { readonly kind: "note"; readonly text: string }
  | {
      readonly kind: "stage";
      readonly name: string;
      readonly steps: number;
      readonly done: number;
      readonly clipsPerStep: number;
      readonly parameters: number;
    }
  /** Told before a stage: bytes that it is estimated to take, and those that are free. */
  | { readonly kind: "memory"; readonly stage: string; readonly takes: number; readonly free: number }
  | { readonly kind: "encoding"; readonly done: number; readonly total: number }
  | (StepNumbers & { readonly kind: "step"; readonly steps: number })
  /** Losses of held-out clips, see `validate` of recipes. */
  | ({ readonly kind: "validation"; readonly step: number } & Validated)
  | { readonly kind: "saved"; readonly step: number }
  | { readonly kind: "sample"; readonly file: string }
  | { readonly kind: "done"; readonly output: string | null; readonly steps: number };

/** Makes something to look at; given by whoever knows codecs and pipelines. */
export type Showing = {
  /** Writes pixels `[T, 3, H, W]` in [-1, 1]; returns the file's name. */
  readonly clip: (
    base: string,
    clip: { readonly data: Float32Array; readonly shape: readonly number[]; readonly fps: number },
  ) => Promise<string>;
  /** Generates samples; returns the files' names. */
  readonly samples: (
    base: string,
    model: ShownModel,
    samples: readonly Sample[],
    settings: Recipe["sample"] & Pick<Recipe["transformer"], "droppedText">,
  ) => Promise<readonly string[]>;
  /** A file of either kind as one picture, for TensorBoard: the bytes of a PNG file. */
  readonly strip?: (file: string) => Promise<Uint8Array>;
};

export type RunRecipeOptions = {
  /** Folder of the run. */
  readonly folder: string;
  /** false: the run must be new. true: it must exist. "auto": go on if it exists. */
  readonly resume?: boolean | "auto";
  /** Train at most this many steps now. */
  readonly maxSteps?: number;
  readonly signal?: AbortSignal;
  readonly onEvent?: (event: RecipeEvent) => void;
  readonly show?: Showing;
  /**
   * "vae" leaves the transformer's stages for later; the output is then the model of the run. "lora" refuses a recipe
   * that would train whole weights.
   */
  readonly only?: "vae" | "lora";
};

export type RunOutcome = {
  /** The finished checkpoint, null when the run stopped before. */
  readonly output: string | null;
  /** Steps that are done. */
  readonly step: number;
};

/**
 * Trains what a recipe says, from the start or from where the run in `folder` stands. Killed at any moment and resumed,
 * a run ends with the weights of one that was never stopped.
 * @param source the recipe's file: its path, for messages, and all of its text
 * @throws ConfigError for a wrong recipe or folder; CancelledError when `signal` fires, after saving
 */
export async function runRecipe(
  source: { readonly file: string; readonly text: string },
  { folder, resume = false, ...options }: RunRecipeOptions,
): Promise<RunOutcome> {
  const recipe = limited(parseRecipe(source.text, source.file), options, source.file);
  const clips = await trainingClips(recipe);
  const heldOut = await heldOutClips(recipe);
  const run = await openRun(folder, {
    config: { name: basename(source.file), text: source.text },
    seed: recipe.seed,
    ...(clips.identity === undefined ? {} : { dataDigest: clips.identity }),
    resume,
    keep: recipe.save.keep,
    differences: (before) => changedFields(limited(parseRecipe(before, folder), options, folder), recipe),
  });
  try {
    return await new RecipeRun(run, recipe, { ...source, clips, heldOut }, options).finish();
  } finally {
    await run.close();
  }
}

/** The stages of a recipe that this call is about. */
function limited(recipe: Recipe, { only }: Pick<RunRecipeOptions, "only">, file: string): Recipe {
  if (only === "lora" && recipe.transformer.lora === undefined)
    throw new ConfigError(`${file} has no transformer.lora; add one, such as "lora: {rank: 16, alpha: 16}"`);
  if (only === "vae" && recipe.vae.stages.length === 0)
    throw new ConfigError(
      `${file} has no vae.stages; add one, such as "stages: [{steps: 1000}]", or train without vae`,
    );
  return only === "vae" ? { ...recipe, transformer: { ...recipe.transformer, stages: [] } } : recipe;
}

/** Where a run stands: in which stage, after how many of its steps, with which state. */
type Position = StageStart & { readonly stage: number; readonly log: TimestepLog };

/** What a finished stage leaves. */
type Trained = { readonly tensors: TrainingTensors; readonly log: TimestepLog };

class RecipeRun {
  private readonly run: Run;
  private readonly recipe: Recipe;
  /** Of the recipe's file. */
  private readonly text: string;
  private readonly options: Omit<RunRecipeOptions, "folder" | "resume">;
  private readonly place: Place;
  private readonly stages: readonly PlannedStage[];
  private readonly signal: AbortSignal;
  private stepsNow = 0;

  constructor(
    run: Run,
    recipe: Recipe,
    { file, text, clips, heldOut }: Pick<Place, "file" | "clips" | "heldOut"> & { readonly text: string },
    options: Omit<RunRecipeOptions, "folder" | "resume">,
  ) {
    this.run = run;
    this.recipe = recipe;
    this.text = text;
    this.options = options;
    this.signal = options.signal ?? new AbortController().signal;
    this.stages = planStages(recipe);
    const onEncoding = (done: number, total: number) => this.tell({ kind: "encoding", done, total });
    const isLora = recipe.transformer.lora !== undefined;
    this.place = {
      file,
      clips,
      heldOut,
      folder: run.folder,
      cache: recipe.cache ?? join(run.folder, "cache"),
      model: isLora && recipe.model.from !== undefined ? recipe.model.from : join(run.folder, "model"),
      signal: this.signal,
      onEncoding,
    };
  }

  async finish(): Promise<RunOutcome> {
    const restored = await this.run.latest();
    for (const text of this.run.notes) this.tell({ kind: "note", text });
    const position = positionOf(restored);
    await this.prepare(position, restored === undefined);
    const books = await openBooks(this.run, restored?.step ?? 0, this.text);
    try {
      const last = await this.trainAll(position, books);
      const isDone = last.stage === this.stages.length;
      const step = isDone ? totalSteps(this.stages) : this.stages[last.stage].stepsBefore + last.done;
      const output = isDone ? await this.giveOut() : null;
      this.tell({ kind: "done", output, steps: step });
      return { output, step };
    } finally {
      await books.close();
    }
  }

  /** Makes the model of a run that has not begun, and refuses now what one of its stages would be refused for. */
  private async prepare({ stage }: Position, hasToBegin: boolean): Promise<void> {
    const { output, transformer } = this.recipe;
    try {
      if (hasToBegin && output !== undefined) await requireFree(output);
      if (hasToBegin && transformer.lora === undefined) await makeModelFolder(this.place.model, this.recipe);
      for (const planned of this.stages.slice(stage)) {
        await checkStage(this.recipe, planned, this.place);
        await requireMemory(this.recipe, planned, this.place);
      }
    } catch (cause) {
      // So that a mended recipe can be tried in the same place.
      if (hasToBegin) await this.run.discard();
      throw cause;
    }
  }

  private async trainAll(position: Position, books: Books): Promise<Position> {
    for (const planned of this.stages.slice(position.stage)) {
      const trained = await this.trainStage(planned, position, books);
      if (trained === null) return { ...position, stage: planned.index, done: this.doneIn(planned) };
      await finishStage(this.recipe, planned, trained.tensors, this.place);
      position = this.behind(planned, position, trained);
    }
    return position;
  }

  /** The position at the beginning of the stage that follows. */
  private behind(planned: PlannedStage, { updatesBefore }: Position, { tensors, log }: Trained): Position {
    const next = this.stages.at(planned.index + 1);
    const carries = next?.canCarry === true && next.stage.optimiser === "carry";
    return {
      stage: planned.index + 1,
      done: 0,
      updatesBefore: carries ? updatesBefore + planned.stage.steps : 0,
      tensors: carries ? tensors : null,
      log,
    };
  }

  private lastSteps = new Map<number, number>();

  private doneIn({ index }: PlannedStage): number {
    return this.lastSteps.get(index) ?? 0;
  }

  /** Trains a stage to its end and returns its state; null where it was to stop before. */
  private async trainStage(planned: PlannedStage, position: Position, books: Books): Promise<Trained | null> {
    const { steps } = planned.stage;
    const { tensors, log } = position;
    if (position.done === steps && tensors !== null) return { tensors, log };
    this.lastSteps.set(planned.index, position.done);
    if (this.isSpent()) return null;
    const memory = await requireMemory(this.recipe, planned, this.place);
    this.tell({ kind: "memory", stage: planned.name, ...memory });
    const { trainee, peak, close } = await openStage(this.recipe, planned, position, this.place);
    const { name, clipsPerStep } = planned;
    this.tell({ kind: "stage", name, steps, done: position.done, clipsPerStep, parameters: trainee.size });
    try {
      const after = await this.trainSteps(planned, { trainee, peak }, position, books);
      return after.done === steps ? { tensors: await trainee.tensors(), log: after.log } : null;
    } finally {
      await close();
    }
  }

  /** Steps of the stage that are done in the end, and the losses by timestep then. */
  private async trainSteps(
    planned: PlannedStage,
    { trainee, peak }: Pick<OpenStage, "trainee" | "peak">,
    position: Position,
    books: Books,
  ): Promise<Pick<Position, "done" | "log">> {
    const { steps } = planned.stage;
    let { log } = position;
    let [done, saved] = [position.done, position.done];
    const progress = new Progress(steps, { done, clipsPerStep: planned.clipsPerStep });
    const save = async () => {
      await books.sync();
      await this.save(planned, trainee, { ...position, done, log });
      saved = done;
    };
    try {
      for await (const step of trainee.train(this.signal)) {
        done = step.step;
        this.stepsNow++;
        this.lastSteps.set(planned.index, done);
        if (step.byTimestep !== undefined)
          log = logLosses(log, step.byTimestep.timesteps, step.byTimestep.losses);
        progress.note(done);
        const facts = { planned, step, log, pace: progress.pace()!, peak };
        const numbers = stepNumbers(facts);
        await books.note(facts, numbers);
        this.tell({ kind: "step", steps: totalSteps(this.stages), ...numbers });
        if (this.isMeasured(done, steps)) await this.measure(planned, trainee, done, books);
        const stops = this.isSpent();
        if (done === steps || stops || (planned.stepsBefore + done) % this.recipe.save.every === 0)
          await save();
        if (this.isShown(done, steps)) await this.showWork(planned, trainee, done, books);
        if (stops) break;
      }
    } catch (error) {
      if (error instanceof CancelledError && done > saved) await save();
      throw error;
    }
    return { done, log };
  }

  private async save(planned: PlannedStage, trainee: Trainee, position: Position): Promise<void> {
    const { done, updatesBefore, log } = position;
    const step = planned.stepsBefore + done;
    const state = { stage: planned.index, done, updatesBefore, log } satisfies SavedState;
    await this.run.save({
      step,
      task: planned.name,
      tensors: await trainee.tensors(),
      state: state as unknown as Json,
    });
    this.tell({ kind: "saved", step });
  }

  private isSpent(): boolean {
    return this.options.maxSteps !== undefined && this.stepsNow >= this.options.maxSteps;
  }

  private isMeasured(done: number, steps: number): boolean {
    const { every } = this.recipe.validate;
    return every !== null && (done % every === 0 || done === steps);
  }

  /** A stop in between leaves the measurement out; the step before it is saved. */
  private async measure(planned: PlannedStage, trainee: Trainee, done: number, books: Books): Promise<void> {
    const validated = await trainee.validate?.(this.signal);
    if (validated === undefined) return;
    const step = planned.stepsBefore + done;
    await books.noteValidation(planned, step, validated);
    this.tell({ kind: "validation", step, ...validated });
  }

  private isShown(done: number, steps: number): boolean {
    const { every } = this.recipe.sample;
    return every !== null && this.options.show !== undefined && (done % every === 0 || done === steps);
  }

  private async showWork(planned: PlannedStage, trainee: Trainee, done: number, books: Books): Promise<void> {
    const { show } = this.options;
    if (show === undefined) return;
    const step = planned.stepsBefore + done;
    const base = join(this.run.samplesFolder, `step-${String(step).padStart(8, "0")}`);
    const { sample, transformer } = this.recipe;
    const settings = { ...sample, droppedText: transformer.droppedText };
    const generate = async (model: ShownModel) =>
      show.samples(base, model, await samplesOf(this.recipe, this.place), settings);
    const filesOf = async () => {
      const picture = await trainee.picture();
      if (picture !== null) return [await show.clip(base, { ...picture, fps: this.place.clips.fps })];
      return showSamples(this.recipe, await trainee.tensors(), this.place, generate);
    };
    // Hours of training must not end at a clip that cannot be shown.
    try {
      for (const [i, file] of (await filesOf()).entries()) {
        this.tell({ kind: "sample", file });
        if (show.strip !== undefined) await books.noteSample(planned, step, i + 1, await show.strip(file));
      }
    } catch (error) {
      if (error instanceof CancelledError) throw error;
      this.tell({ kind: "note", text: `no sample at step ${step}: ${(error as Error).message}` });
    }
  }

  /** Null for variants, whose weights no released model takes. */
  private async giveOut(): Promise<string | null> {
    const { output = join(this.run.folder, "output"), dtype, guidance, model, transformer } = this.recipe;
    if (this.options.only === "vae") return this.place.model;
    if (transformer.variant !== "none" && transformer.stages.length > 0) return null;
    if (transformer.lora !== undefined || (await exists(output))) return output;
    const trained = new Set(this.stages.map(({ kind }) => kind));
    const parts = (["text_encoder", "transformer", "vae"] as const).filter((part) => {
      if (model.new !== undefined) return true;
      return part === "text_encoder"
        ? trained.has("transformer") && transformer.trainTextEncoder
        : trained.has(part);
    });
    await giveOut(this.place.model, output, { parts, dtype, guidance });
    return output;
  }

  private tell(event: RecipeEvent): void {
    this.options.onEvent?.(event);
  }
}

type SavedState = {
  readonly stage: number;
  readonly done: number;
  readonly updatesBefore: number;
  readonly log: TimestepLog;
};

function positionOf(restored: Restored | undefined): Position {
  if (restored === undefined)
    return { stage: 0, done: 0, updatesBefore: 0, tensors: null, log: emptyTimestepLog() };
  // Written by `save`; a change of the recipe's stages has been refused.
  return { ...(restored.state as unknown as SavedState), tensors: restored.tensors };
}
