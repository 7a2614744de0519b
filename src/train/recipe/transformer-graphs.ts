/** @file The loss graphs of a stage of the transformer, one for every shape of micro-batch, and what they are fed. */
import { drawNormals } from "../../diffusion/noise.ts";
import type { NoiseSchedule } from "../../diffusion/schedule.ts";
import { sizeOf } from "../../graph/shape.ts";
import type { T5Config } from "../../models/t5/config.ts";
import type { TransformerConfig } from "../../models/transformer/config.ts";
import { gridOf, type LatentSize, tokensOf } from "../../models/transformer/grid.ts";
import { lossWeights } from "../diffusion/frame-pack/loss.ts";
import { rngFor } from "../diffusion/random.ts";
import type { StagePositions } from "../diffusion/stage-positions.ts";
import { paddedSize } from "../diffusion/temporal-padding.ts";
import type { LossGraph, MicroBatch } from "../learner.ts";
import { segmentedPackedTextToVideo } from "../recompute/packed-text-to-video.ts";
import { segmentedTextToVideo } from "../recompute/text-to-video.ts";
import { type PackedGraph, packedRowFeeds, packedTextToVideo } from "../tasks/packed-text-to-video.ts";
import {
  mixtureShapes,
  type TextToVideoCall,
  type TextToVideoGraph,
  textToVideoFeeds,
  textToVideoGraph,
} from "../tasks/text-to-video.ts";
import { type ClipSize, sizeKey } from "./clip-size.ts";
import { conditionOf, taskOf } from "./conditioning.ts";
import { withLora } from "./lora.ts";
import { memo } from "./memo.ts";
import type { Recipe, TransformerStageRecipe } from "./schema.ts";
import type { PlannedSample } from "./step-plan.ts";
import { varied } from "./variants.ts";

/** What the graphs of a stage are made of. */
export type StageGraphSetting = {
  readonly stage: Pick<TransformerStageRecipe, "batch" | "pack" | "recompute" | "timestepWeights">;
  readonly recipe: Pick<Recipe["transformer"], "trainTextEncoder" | "variant" | "lora" | "control">;
  readonly config: TransformerConfig;
  readonly textConfig: T5Config;
  readonly schedule: NoiseSchedule;
  /** The run's model. */
  readonly folder: string;
  /** Size of the largest clips of the stage. */
  readonly largest: ClipSize;
  readonly latentSize: (size: ClipSize) => LatentSize;
  readonly placement: StagePositions;
  readonly seed: number;
};

/** A sample with its data. */
export type DrawnSample = PlannedSample & {
  /** Scaled latents `[F, C, H, W]`. */
  readonly latents: Float32Array;
  /** Token ids `[T]`, or text states `[T, D]`. */
  readonly text: Int32Array | Float32Array;
  /** Conditioning latents, for models that see more than the text. */
  readonly condition?: Float32Array;
};

/** A sample with its noise, for losses that depend on nothing else. */
export type FixedSample = Omit<DrawnSample, "place" | "size"> & {
  /** Of the size of padded latents, `[F, C, H, W]`. */
  readonly noise: Float32Array;
};

/** Micro-batches of clips of the largest size that keep no memory between runs. */
export type FixedBatches = {
  /** Samples of a micro-batch. */
  readonly size: number;
  /** Shape of the noise of a sample, `[F, C, H, W]`. */
  readonly noise: readonly number[];
  /** The micro-batch of at most `size` samples, the last of which fills it up. */
  readonly of: (samples: readonly FixedSample[]) => MicroBatch;
};

/** The graphs of a stage, built when they are first asked for. */
export type StageGraphs = {
  /** A graph that declares the parameters that all of them declare. */
  readonly reference: () => Promise<LossGraph>;
  /** What a learner takes for the micro-batches of a global step. */
  readonly batches: (
    step: number,
    batches: readonly (readonly DrawnSample[])[],
  ) => Promise<readonly MicroBatch[]>;
};

export function stageGraphs(setting: StageGraphSetting): StageGraphs {
  const buckets = memo((size: ClipSize) => bucketGraph(setting, size), sizeKey);
  const rows = memo(
    (sizes: readonly ClipSize[]) => rowGraph(setting, sizes),
    (sizes) => sizes.map(sizeKey).join(),
  );
  const reference = async () => (await buckets(setting.largest)).graph;
  if (setting.stage.pack === undefined) {
    const batch = async (step: number, samples: readonly DrawnSample[], part: number) =>
      bucketBatch(setting, await buckets(samples[0].size), samples, { step, part });
    return {
      reference,
      batches: (step, all) => Promise.all(all.map((samples, part) => batch(step, samples, part))),
    };
  }
  const { weights: normalization } = setting.stage.pack;
  const row = async (step: number, samples: readonly DrawnSample[], weights: ReadonlyMap<number, number>) =>
    rowBatch(setting, await rows(samples.map(({ size }) => size)), samples, { step, weights });
  return {
    reference,
    batches: (step, all) => {
      const weights = weightsOf(setting, all, normalization);
      return Promise.all(all.map((samples) => row(step, samples, weights)));
    },
  };
}

/** Of as many clips as go through at once in training; where they are packed, as a row has room for. */
export async function fixedBatches(setting: StageGraphSetting): Promise<FixedBatches> {
  const { schedule, stage, largest, config, latentSize } = setting;
  const { pack, batch } = stage;
  const inRow = (capacity: number) => Math.floor(capacity / tokensOfClip(config, latentSize)(largest));
  const size = pack === undefined ? batch : Math.max(1, inRow(pack.capacity));
  const built = await bucketGraph({ ...setting, stage: { ...stage, batch: size } }, largest);
  const graph = { ...built.graph, arena: false };
  const of = (samples: readonly FixedSample[]) => {
    const all = Array.from({ length: size }, (_, i) => samples[Math.min(i, samples.length - 1)]);
    const feeds = textToVideoFeeds(built, schedule, {
      latents: all.map(({ latents }) => latents),
      text: all.map(({ text }) => text),
      conditions: conditionsOf(all),
      timesteps: all.map(({ timestep }) => timestep),
      noise: all.map(({ noise }) => noise),
    });
    return { graph, feeds };
  };
  return { size, noise: mixtureShapes(built.config, built.call).noise.slice(1), of };
}

/** Tokens of a clip, text included. */
export function tokensOfClip(
  config: TransformerConfig,
  latentSize: (size: ClipSize) => LatentSize,
): (size: ClipSize) => number {
  return (size) =>
    config.maxTextLength + tokensOf(gridOf(config, paddedSize(latentSize(size), config.patchT)));
}

async function bucketGraph(setting: StageGraphSetting, size: ClipSize): Promise<TextToVideoGraph> {
  const { config, stage, recipe, textConfig, placement } = setting;
  const call = { ...setting.latentSize(size), batch: stage.batch, textLength: config.maxTextLength };
  const text = recipe.trainTextEncoder ? textConfig : null;
  const built = textToVideoGraph(config, call, text, placement, taskFor(setting));
  const chain = stage.recompute ? segmentedTextToVideo(built, text) : undefined;
  return { ...built, graph: await changed(setting, { ...built.graph, chain }, call) };
}

async function rowGraph(setting: StageGraphSetting, sizes: readonly ClipSize[]): Promise<PackedGraph> {
  const { config, stage, recipe, textConfig, placement } = setting;
  const text = recipe.trainTextEncoder ? textConfig : null;
  const built = packedTextToVideo(config, sizes.map(setting.latentSize), text, placement, taskFor(setting));
  const chain = stage.recompute ? segmentedPackedTextToVideo(built, text) : undefined;
  return { ...built, graph: await changed(setting, { ...built.graph, chain }, null) };
}

function taskFor({ config, recipe }: StageGraphSetting): string {
  return taskOf(conditionOf(config, recipe)?.kind ?? null);
}

/** The graph as the recipe trains it. @param call null for rows, which have no variants */
async function changed(
  { recipe, config, folder }: StageGraphSetting,
  graph: LossGraph,
  call: TextToVideoCall | null,
): Promise<LossGraph> {
  const variant = call === null ? graph : varied(graph, recipe.variant, config, call);
  return recipe.lora === undefined ? variant : withLora(variant, recipe.lora, folder);
}

function bucketBatch(
  { schedule, seed, stage }: StageGraphSetting,
  graph: TextToVideoGraph,
  samples: readonly DrawnSample[],
  { step, part }: { readonly step: number; readonly part: number },
): MicroBatch {
  const feeds = textToVideoFeeds(graph, schedule, {
    latents: samples.map(({ latents }) => latents),
    text: samples.map(({ text }) => text),
    conditions: conditionsOf(samples),
    timesteps: samples.map(({ timestep }) => timestep),
    weights: Float32Array.from(samples, ({ timestep }) => timestepWeight(stage, schedule, timestep)),
    noise: { seed, step, part },
  });
  return { graph: graph.graph, feeds };
}

/** Those of all samples, or nothing: a model takes conditions with all of them or with none. */
function conditionsOf(samples: readonly Pick<DrawnSample, "condition">[]): Float32Array[] | undefined {
  const conditions = samples.flatMap(({ condition }) => condition ?? []);
  return conditions.length === 0 ? undefined : conditions;
}

function rowBatch(
  { schedule, seed, stage }: StageGraphSetting,
  row: PackedGraph,
  samples: readonly DrawnSample[],
  { step, weights }: { readonly step: number; readonly weights: ReadonlyMap<number, number> },
): MicroBatch {
  const fed = samples.map((sample, i) => {
    const { frames, height, width } = row.layout.segments[i].size;
    const values = sizeOf([frames, row.config.outChannels, height, width]);
    // What a micro-batch of this clip alone would draw: packing changes how a step is computed, not what.
    const noise = drawNormals(rngFor(seed, "noise", step, sample.place), values);
    const weight = weights.get(sample.place)! * timestepWeight(stage, schedule, sample.timestep);
    return { ...sample, noise, weight };
  });
  return { graph: row.graph, feeds: packedRowFeeds(row, schedule, fed) };
}

/** What a sample counts by how noisy it is. */
function timestepWeight(
  { timestepWeights }: Pick<TransformerStageRecipe, "timestepWeights">,
  { alphaBar }: NoiseSchedule,
  timestep: number,
): number {
  return timestepWeights[Math.floor((timestep * timestepWeights.length) / alphaBar.length)];
}

/** By place in the step. Losses of rows add up, and a learner takes their mean: each counts as often as there are rows. */
function weightsOf(
  { config, latentSize }: StageGraphSetting,
  rows: readonly (readonly PlannedSample[])[],
  normalization: "per-sample" | "per-token",
): ReadonlyMap<number, number> {
  const tokens = tokensOfClip(config, latentSize);
  const samples = rows.flat();
  const weights = lossWeights(
    samples.map(({ size }) => tokens(size) - config.maxTextLength),
    normalization,
  );
  return new Map(samples.map(({ place }, i) => [place, weights[i] * rows.length]));
}
