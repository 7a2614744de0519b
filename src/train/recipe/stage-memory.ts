/** @file What a stage takes in memory, asked before anything of it is opened, and refused where it cannot fit. */
import { ConfigError } from "../../errors.ts";
import { type Shape, sizeOf } from "../../graph/shape.ts";
import type { VaeConfig } from "../../models/vae/config.ts";
import { availableMemory } from "../../runtime/memory.ts";
import { goesByLink } from "../learner.ts";
import { textEncoderParams, transformerParams, vaeParams } from "../new-checkpoint/declared-params.ts";
import {
  memoryObstacle,
  type TokenCounts,
  type TrainingSize,
  textActivations,
  trainingMemory,
  transformerActivations,
  vaeActivations,
} from "../run/memory-estimate.ts";
import { discriminatorParams } from "../vae/discriminator.ts";
import { type ClipSize, clipSizeOf, shownSize } from "./clip-size.ts";
import { loraShapes } from "./lora.ts";
import { type ModelConfigs, openPart, readConfigs } from "./model-folder.ts";
import type { OptimiserRecipe, Recipe, TransformerStageRecipe, VaeStageRecipe } from "./schema.ts";
import { type StageShape, stageShape } from "./stage-shape.ts";
import type { PlannedStage } from "./stages.ts";
import { tokensOfClip } from "./transformer-graphs.ts";

/** Bytes that a stage is estimated to take, and those that are free. */
export type StageMemory = { readonly takes: number; readonly free: number };

type Place = { readonly file: string; readonly model: string };

/**
 * The estimate for a stage.
 * @throws ConfigError when that much is not free, saying what would fit
 */
export async function requireMemory(
  recipe: Recipe,
  planned: PlannedStage,
  place: Place,
  free = availableMemory(),
): Promise<StageMemory> {
  const size = await stageSize(recipe, planned, place.model);
  const obstacle = memoryObstacle(size, free);
  if (obstacle !== null) throw new ConfigError(`${place.file}: ${planned.where}: ${obstacle}`);
  return { takes: trainingMemory(size).peak, free };
}

/** A stage as the estimate of memory wants it. @param model the run's */
export async function stageSize(recipe: Recipe, planned: PlannedStage, model: string): Promise<TrainingSize> {
  const configs = await readConfigs(model);
  const engines = recipe[planned.kind].engines.count;
  if (planned.kind === "transformer")
    return { ...(await transformerSize(recipe, planned.stage, configs, model)), engines };
  const clip = clipSizeOf(planned.stage, recipe.data);
  return { ...vaeSize(planned.stage, configs.vae, clip), engines };
}

function vaeSize(stage: VaeStageRecipe, config: VaeConfig, clip: ClipSize): TrainingSize {
  const isTrained = (key: string) => stage.train === "all" || key.startsWith("decoder.");
  const judge = stage.discriminator === undefined ? new Map() : discriminatorParams(stage.discriminator);
  const perClip = vaeActivations(config, { ...clip, ...shownSize(stage.crop, clip) });
  const parameters = valuesIn(vaeParams(config), isTrained) + valuesIn(judge);
  return {
    parameters,
    average: true,
    batch: stage.batch,
    microBatches: stage.accumulate,
    activations: (clips) => clips * perClip,
    copies: roundedBytes(stage, parameters),
  };
}

async function transformerSize(
  recipe: Recipe,
  stage: TransformerStageRecipe,
  configs: ModelConfigs,
  model: string,
): Promise<TrainingSize> {
  const { transformer, textEncoder } = configs;
  const { lora, trainTextEncoder, engines, variant } = recipe.transformer;
  const trained = trainedShapes(recipe, configs);
  const parameters = valuesIn(trained);
  const { batch, microBatches, tokens, texts } = countsOf(stage, configs, stageShape(recipe, stage, configs));
  const ofText = (count: number) =>
    trainTextEncoder ? textActivations(textEncoder, texts(count), transformer.maxTextLength) : 0;
  const copies = roundedBytes(stage, parameters) + (lora === undefined ? 0 : await widenedBytes(model));
  const activations = (count: number, recompute: boolean) =>
    transformerActivations(transformer, tokens(count), { recompute }) + ofText(count);
  const whole = { activations: (count: number) => activations(count, false), copies };
  // Then one block's copies are there at a time.
  const recomputed = {
    activations: (count: number) => activations(count, true),
    copies: copies / transformer.layers,
    ...linkSize(trained, { clip: stage.clip, engines: engines.count, microBatches }),
  };
  const unclipped = {
    ...recomputed,
    ...linkSize(trained, { clip: null, engines: engines.count, microBatches }),
  };
  const alternatives = [
    ...(stage.recompute ? [] : [{ change: "recompute: true", size: recomputed }]),
    ...(stage.clip === null || unclipped.largestLink === undefined
      ? []
      : [{ change: stage.recompute ? "clip: null" : "recompute: true with clip: null", size: unclipped }]),
  ];
  return {
    ...{ parameters, average: true, batch, microBatches },
    ...(stage.recompute ? recomputed : whole),
    ...(variant === "none" ? { alternatives } : {}),
  };
}

/** What a stage trains, by key. */
function trainedShapes({ transformer: { lora, trainTextEncoder } }: Recipe, configs: ModelConfigs) {
  const declared = transformerParams(configs.transformer);
  return new Map([
    ...(lora === undefined ? declared : loraShapes(declared, lora)),
    ...(trainTextEncoder ? textEncoderParams(configs.textEncoder) : []),
  ]);
}

/** The largest link where a step of a loss in links goes link by link: a block, or all that is around the blocks. */
function linkSize(
  trained: ReadonlyMap<string, Shape>,
  kind: Omit<Parameters<typeof goesByLink>[0], "isCut">,
): Pick<TrainingSize, "largestLink"> {
  if (!goesByLink({ ...kind, isCut: true })) return {};
  const sizes = new Map<string, number>();
  for (const [key, shape] of trained) {
    const [block = ""] = /^transformer_blocks\.\d+\./.exec(key) ?? [];
    sizes.set(block, (sizes.get(block) ?? 0) + sizeOf(shape));
  }
  return { largestLink: Math.max(...sizes.values()) };
}

type Counts = Pick<TrainingSize, "batch" | "microBatches"> & {
  /** Of a micro-batch of so many clips; a row counts as one. */
  readonly tokens: (count: number) => TokenCounts;
  readonly texts: (count: number) => number;
};

function countsOf(
  stage: TransformerStageRecipe,
  { transformer }: ModelConfigs,
  { largest, latentSize }: StageShape,
): Counts {
  const { batch, accumulate, pack } = stage;
  const tokensOf = tokensOfClip(transformer, latentSize);
  const single = (samples: number, tokens: number) => ({ samples, tokens });
  if (pack === undefined)
    return {
      batch,
      microBatches: accumulate,
      tokens: (count) => ({ tokens: count * tokensOf(largest), attended: single(count, tokensOf(largest)) }),
      texts: (count) => count,
    };
  const each = pack.sizes.map(tokensOf);
  return {
    batch: 1,
    microBatches: batch * accumulate,
    tokens: (count) => ({ tokens: count * pack.capacity, attended: single(1, Math.max(...each)) }),
    texts: (count) => count * Math.floor(pack.capacity / Math.min(...each)),
  };
}

/** Weights rounded for a forward pass are kept, widened again, for the backward pass. */
function roundedBytes({ storage }: OptimiserRecipe, parameters: number): number {
  return storage === "bf16" ? 4 * parameters : 0;
}

/** Frozen weights that lie in a narrower type are widened for the forward pass and kept for the backward pass. */
async function widenedBytes(model: string): Promise<number> {
  const { tensors } = await openPart(model, "transformer");
  const narrow = [...tensors.values()].filter(({ dtype }) => dtype !== "F32");
  return narrow.reduce((sum, { shape }) => sum + 4 * sizeOf(shape), 0);
}

function valuesIn(shapes: ReadonlyMap<string, Shape>, isCounted: (key: string) => boolean = () => true) {
  return [...shapes].reduce((sum, [key, shape]) => sum + (isCounted(key) ? sizeOf(shape) : 0), 0);
}
