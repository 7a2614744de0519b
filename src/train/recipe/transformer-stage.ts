/** @file A stage of the transformer's training: latents, captions, noise and timesteps of every step, and one learner. */
import type { NoiseSchedule } from "../../diffusion/schedule.ts";
import { sizeOf } from "../../graph/shape.ts";
import type { T5Config } from "../../models/t5/config.ts";
import type { T5Tokenizer } from "../../models/t5/tokenizer/tokenizer.ts";
import type { TransformerConfig } from "../../models/transformer/config.ts";
import { latentsFrom } from "../cache/moments.ts";
import { rngFor } from "../diffusion/random.ts";
import { keptText } from "../diffusion/text-dropout.ts";
import { trainingTimesteps } from "../diffusion/timesteps.ts";
import { type Engines, Learner, type MicroBatch } from "../learner.ts";
import { train } from "../loop.ts";
import type { Params } from "../new-checkpoint/params-file.ts";
import { learningRate } from "../optimiser/learning-rate.ts";
import {
  PARTS,
  type TextToVideoBatch,
  type TextToVideoGraph,
  textToVideoFeeds,
  textToVideoGraph,
} from "../tasks/text-to-video.ts";
import { type ClipSource, clipOrder } from "./clips.ts";
import type { LatentSet } from "./latent-set.ts";
import { initialLora, withLora } from "./lora.ts";
import { readPart } from "./model-folder.ts";
import type { Recipe, TransformerStageRecipe } from "./schema.ts";
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
import { varied } from "./variants.ts";

/** What a transformer stage is made of. */
export type TransformerStageSetting = {
  readonly stage: TransformerStageRecipe;
  readonly recipe: Pick<
    Recipe["transformer"],
    "trainTextEncoder" | "textDropout" | "timesteps" | "variant" | "lora"
  >;
  readonly config: TransformerConfig;
  readonly textConfig: T5Config;
  readonly schedule: NoiseSchedule;
  readonly scalingFactor: number;
  /** The run's model. */
  readonly folder: string;
  readonly tokenizer: T5Tokenizer;
  readonly latents: LatentSet;
  readonly clips: ClipSource;
  /** Where the text encoder stays as it is. */
  readonly texts: TextStates | null;
  readonly seed: number;
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
  const graph = await graphOf(setting);
  const settings = updateSettings(stage);
  const learner = await (start.tensors === null
    ? Learner.start(engines, await startingWeights(setting, graph), settings)
    : Learner.restore(engines, start.tensors, settings));
  return {
    size: learner.size,
    tensors: () => learner.tensors(),
    train: (signal) => trainTransformer(setting, start, learner, graph, signal),
    picture: async () => null,
    close: () => learner.close(),
  };
}

async function graphOf(setting: TransformerStageSetting): Promise<TextToVideoGraph> {
  const { config, textConfig, recipe, latents, stage, folder } = setting;
  const [frames, , height, width] = latents.shape;
  const call = { batch: stage.batch, frames, height, width, textLength: config.maxTextLength };
  const built = textToVideoGraph(config, call, recipe.trainTextEncoder ? textConfig : null);
  const graph = varied(built.graph, recipe.variant, config, call);
  return { ...built, graph: recipe.lora === undefined ? graph : await withLora(graph, recipe.lora, folder) };
}

/** What the graph declares; a variant may do without some, or with the first rows of others. */
async function startingWeights(
  { folder, recipe, seed }: TransformerStageSetting,
  { graph }: TextToVideoGraph,
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
  graph: TextToVideoGraph,
  signal: AbortSignal,
): AsyncGenerator<StageStep> {
  const { stage } = setting;
  const draw = drawer(setting);
  const task = {
    steps: updatesBefore + stage.steps,
    rate: (update: number) => learningRate(update - updatesBefore, stage.steps, rateSchedule(stage)),
    averageDecay: (update: number) => averageDecayAt(update, stage),
    batches: async (update: number): Promise<MicroBatch[]> => {
      const batches = await draw.batches(update - updatesBefore);
      return batches.map((batch) => ({
        graph: graph.graph,
        feeds: textToVideoFeeds(graph, setting.schedule, batch),
      }));
    },
  };
  for await (const report of train(learner, task, { done: updatesBefore + done, signal })) {
    const { loss, gradientNorm, rate, seconds, reports } = report;
    const step = report.step - updatesBefore;
    const losses = reports.flatMap(({ perSample }) => [...(perSample.data as Float32Array)]);
    const byTimestep = { timesteps: [...draw.timesteps(step)], losses };
    yield { step, loss, gradientNorm, rate, seconds, parts: {}, byTimestep };
  }
}

/** Everything that is drawn for a step of the stage, from 1: functions of the seed and the step alone. */
function drawer(setting: TransformerStageSetting) {
  const { stage, recipe, latents, seed, stepsBefore, clipsBefore } = setting;
  const order = clipOrder(seed, latents.count);
  const perStep = stage.batch * stage.accumulate;
  const timesteps = (step: number) =>
    trainingTimesteps({
      seed,
      step: stepsBefore + step,
      rank: 0,
      world: 1,
      batch: stage.batch,
      accumulation: stage.accumulate,
      method: recipe.timesteps,
    });
  const batches = async (step: number): Promise<TextToVideoBatch[]> => {
    const global = stepsBefore + step;
    const drawn = timesteps(step);
    const kept = keptText({ seed, step: global, probability: recipe.textDropout }, 0, perStep);
    const sample = async (i: number) => {
      const index = order(clipsBefore + (step - 1) * perStep + i);
      const rng = rngFor(seed, "posterior", global, i);
      const caption = kept[i] === 1 ? setting.clips.caption(index) : "";
      return {
        latents: latentsFrom(await latents.moments(index), rng, setting.scalingFactor),
        text: await textOf(setting, caption),
      };
    };
    const samples = await Promise.all(Array.from({ length: perStep }, (_, i) => sample(i)));
    return Array.from({ length: stage.accumulate }, (_, part) => {
      const [from, to] = [part * stage.batch, (part + 1) * stage.batch];
      const own = samples.slice(from, to);
      return {
        latents: own.map((each) => each.latents),
        text: own.map((each) => each.text),
        timesteps: drawn.slice(from, to),
        noise: { seed, step: global, part },
      };
    });
  };
  return { timesteps, batches };
}

function textOf({ tokenizer, config, texts }: TransformerStageSetting, caption: string) {
  const { ids } = tokenizer.encodePadded(caption, config.maxTextLength);
  return texts === null ? ids : texts.of(caption, ids);
}
