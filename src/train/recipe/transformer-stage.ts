/** @file A stage of the transformer's training: latents, captions, noise and timesteps of every step, and one learner. */
import { latentsFrom } from "../../diffusion/posterior.ts";
import { sizeOf } from "../../graph/shape.ts";
import type { T5Tokenizer } from "../../models/t5/tokenizer/tokenizer.ts";
import { dealtRows } from "../diffusion/frame-pack/balance.ts";
import { packingEfficiency } from "../diffusion/frame-pack/packing.ts";
import { rngFor } from "../diffusion/random.ts";
import { paddedSize } from "../diffusion/temporal-padding.ts";
import { DROPPED, keptText } from "../diffusion/text-dropout.ts";
import { type Engines, Learner, type LossGraph } from "../learner.ts";
import { train } from "../loop.ts";
import type { Params } from "../new-checkpoint/params-file.ts";
import { learningRate } from "../optimiser/learning-rate.ts";
import { PARTS } from "../tasks/text-to-video.ts";
import type { ClipSize } from "./clip-size.ts";
import { type ClipSource, clipOrder } from "./clips.ts";
import type { ConditionedSample, Conditioner } from "./conditioner.ts";
import type { LatentSet } from "./latent-set.ts";
import { initialLora } from "./lora.ts";
import { readPart } from "./model-folder.ts";
import type { Recipe, TransformerStageRecipe } from "./schema.ts";
import { type PlannedSample, planStep } from "./step-plan.ts";
import type { TextStates } from "./text-states.ts";
import {
  averageDecayAt,
  rateSchedule,
  type StageStart,
  type StageStep,
  type Trainee,
  updateSettings,
  withPrefix,
} from "./trainee.ts";
import {
  type DrawnSample,
  type FixedBatches,
  fixedBatches,
  type StageGraphSetting,
  type StageGraphs,
  stageGraphs,
  tokensOfClip,
} from "./transformer-graphs.ts";
import { type HeldOut, validate } from "./validation.ts";

/** What a transformer stage is made of. */
export type TransformerStageSetting = Omit<StageGraphSetting, "stage" | "recipe"> & {
  readonly stage: TransformerStageRecipe;
  readonly recipe: Recipe["transformer"];
  readonly scalingFactor: number;
  readonly tokenizer: T5Tokenizer;
  /** Clips that are taken. */
  readonly count: number;
  /** Sizes that clips are cut to, where these are not drawn. */
  readonly ownSizes: readonly ClipSize[] | null;
  /** Their latents in every size that the stage takes clips in. */
  readonly latents: (size: ClipSize) => LatentSet;
  readonly clips: ClipSource;
  /** Where the text encoder stays as it is. */
  readonly texts: TextStates | null;
  /** For models that see more than the text. */
  readonly conditioner: Conditioner | null;
  /** What losses are measured on, beside training. */
  readonly heldOut: HeldOut | null;
  /** Steps and clips of the stages before, so that no two stages draw the same. */
  readonly stepsBefore: number;
  readonly clipsBefore: number;
  readonly engines: Engines;
};

/** A stage of the transformer, with the weights of `start`. */
export async function transformerStage(
  setting: TransformerStageSetting,
  start: StageStart,
): Promise<Trainee> {
  const { stage, engines } = setting;
  const graphs = stageGraphs(setting);
  const settings = updateSettings(stage);
  const learner = await (start.tensors === null
    ? Learner.start(engines, await startingWeights(setting, await graphs.reference()), settings)
    : Learner.restore(engines, start.tensors, settings));
  return {
    size: learner.size,
    validate: validator(setting, learner),
    tensors: () => learner.tensors(),
    train: (signal) => trainTransformer(setting, start, learner, graphs, signal),
    picture: async () => null,
    close: () => learner.close(),
  };
}

/** What the graph declares; a variant may do without some, or with the first rows of others. */
async function startingWeights(
  { folder, recipe, seed }: TransformerStageSetting,
  graph: LossGraph,
): Promise<Params> {
  if (recipe.lora !== undefined) return initialLora(graph, seed);
  const all = new Map(withPrefix(PARTS.transformer, await readPart(folder, "transformer")));
  if (recipe.trainTextEncoder)
    for (const [key, param] of withPrefix(PARTS.textEncoder, await readPart(folder, "text_encoder")))
      all.set(key, param);
  return new Map(
    [...graph.params].map(([key, { shape }]) => [
      key,
      { shape, data: all.get(key)!.data.slice(0, sizeOf(shape)) },
    ]),
  );
}

async function* trainTransformer(
  setting: TransformerStageSetting,
  { done, updatesBefore }: StageStart,
  learner: Learner,
  graphs: StageGraphs,
  signal: AbortSignal,
): AsyncGenerator<StageStep> {
  const { stage, stepsBefore } = setting;
  const planOf = planner(setting);
  const load = loader(setting);
  const task = {
    steps: updatesBefore + stage.steps,
    rate: (update: number) => learningRate(update - updatesBefore, stage.steps, rateSchedule(stage)),
    averageDecay: (update: number) => averageDecayAt(update, stage),
    batches: async (update: number) => {
      const step = update - updatesBefore;
      return graphs.batches(stepsBefore + step, await load(step, planOf(step)));
    },
  };
  for await (const report of train(learner, task, { done: updatesBefore + done, signal })) {
    const { loss, gradientNorm, rate, seconds, operations, reports } = report;
    const step = report.step - updatesBefore;
    const plan = planOf(step);
    const timesteps = plan.flat().map(({ timestep }) => timestep);
    const losses = reports.flatMap(({ perSample }) => [...(perSample.data as Float32Array)]);
    const byTimestep = { timesteps, losses };
    const parts = partsOf(setting, plan);
    yield { step, loss, gradientNorm, rate, seconds, operations, parts, byTimestep };
  }
}

/** The micro-batches of a step of the stage, from 1; rows in the order in which engines get about as much to do. */
function planner(setting: TransformerStageSetting): (step: number) => PlannedSample[][] {
  const { config, latentSize, recipe, stage, stepsBefore, ownSizes, engines } = setting;
  const tokensOf = tokensOfClip(config, latentSize);
  const plan = { ...setting, timesteps: recipe.timesteps, tokensOf };
  const clipAt = clipOfPlace(setting);
  return (step) => {
    const own = ownSizes === null ? {} : { ownSize: (place: number) => ownSizes[clipAt(step, place)] };
    const batches = planStep({ ...plan, ...own }, stepsBefore + step);
    if (stage.pack === undefined) return batches;
    const tokens = batches.map((row) => row.map(({ size }) => tokensOf(size)));
    return dealtRows(tokens, { width: config.width, ranks: engines.length }).map((row) => batches[row]);
  };
}

/** Where clips are packed, the tokens of a step as a share of what its rows have room for. */
function partsOf(
  { config, latentSize, stage: { pack } }: TransformerStageSetting,
  rows: readonly (readonly PlannedSample[])[],
): Record<string, number> {
  if (pack === undefined) return {};
  const tokens: number[] = [];
  for (const { place, size } of rows.flat()) tokens[place] = tokensOfClip(config, latentSize)(size);
  const places = rows.map((row) => row.map(({ place }) => place));
  return { filled: packingEfficiency(places, tokens, pack.capacity) };
}

/** The clip that comes at a place of a step of the stage. */
function clipOfPlace({ stage, seed, count, clipsBefore }: TransformerStageSetting) {
  const order = clipOrder(seed, count);
  const perStep = stage.batch * stage.accumulate;
  return (step: number, place: number) => order(clipsBefore + (step - 1) * perStep + place);
}

/** What samples of a step are made of: like the plan, functions of the seed and the step alone. */
function loader(setting: TransformerStageSetting) {
  const { stage, recipe, latents, seed, stepsBefore, scalingFactor, clips } = setting;
  const clipAt = clipOfPlace(setting);
  const perStep = stage.batch * stage.accumulate;
  return async (step: number, plan: readonly (readonly PlannedSample[])[]): Promise<DrawnSample[][]> => {
    const global = stepsBefore + step;
    const kept = keptText({ seed, step: global, probability: recipe.textDropout }, 0, perStep);
    const seen = plan.flat().map((planned) => ({ ...planned, index: clipAt(step, planned.place) }));
    const conditions = await conditionsOf(setting, global, seen);
    const sample = async (planned: PlannedSample): Promise<DrawnSample> => {
      const { place, size } = planned;
      const index = clipAt(step, place);
      const rng = rngFor(seed, "posterior", global, place);
      return {
        ...planned,
        latents: latentsFrom(await latents(size).moments(index), rng, scalingFactor),
        text: await (kept[place] === 1 ? textOf(setting, clips.caption(index)) : droppedText(setting)),
        condition: conditions.get(place),
      };
    };
    return Promise.all(plan.map((samples) => Promise.all(samples.map(sample))));
  };
}

/** What the samples of a step see beside the text, by their places; encoded together, whatever rows they go to. */
async function conditionsOf(
  { conditioner, latentSize, config }: TransformerStageSetting,
  global: number,
  samples: readonly Omit<ConditionedSample, "frames">[],
): Promise<ReadonlyMap<number, Float32Array>> {
  if (conditioner === null) return new Map();
  const frames = (size: ClipSize) => paddedSize(latentSize(size), config.patchT).frames;
  const found = await conditioner.latents(
    global,
    samples.map((sample) => ({ ...sample, frames: frames(sample.size) })),
  );
  return new Map(samples.map(({ place }, i) => [place, found[i]]));
}

/** Builds its graph when it first measures. */
function validator(setting: TransformerStageSetting, learner: Learner): Trainee["validate"] {
  const { heldOut, scalingFactor, schedule } = setting;
  if (heldOut === null) return undefined;
  let built: Promise<FixedBatches> | null = null;
  return async (signal) => {
    built ??= fixedBatches(setting);
    const text = (caption: string) => textOf(setting, caption);
    const scheduled = schedule.alphaBar.length;
    return validate(
      heldOut,
      { batches: await built, scalingFactor, scheduled, textOf: text },
      learner,
      signal,
    );
  };
}

function textOf({ tokenizer, config, texts }: TransformerStageSetting, caption: string) {
  const { ids } = tokenizer.encodePadded(caption, config.maxTextLength);
  return texts === null ? ids : texts.of(caption, ids);
}

/** What a sample sees that does not see its caption. */
function droppedText(setting: TransformerStageSetting) {
  const { recipe, config, texts } = setting;
  if (recipe.droppedText === "empty") return textOf(setting, "");
  return texts === null
    ? new Int32Array(config.maxTextLength).fill(DROPPED)
    : new Float32Array(config.maxTextLength * config.textDim);
}
