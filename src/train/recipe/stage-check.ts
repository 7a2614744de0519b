/** @file What can be told of a stage before anything is trained: sizes, files, and fields that do not go together. */
import { ConfigError } from "../../errors.ts";
import { gridOf } from "../../models/transformer/grid.ts";
import { spatialRatio, temporalRatio } from "../../models/vae/config.ts";
import { framesThatFit } from "../diffusion/frame-pack/packing.ts";
import { stagePositions } from "../diffusion/stage-positions.ts";
import { paddedSize } from "../diffusion/temporal-padding.ts";
import { transformerParams } from "../new-checkpoint/declared-params.ts";
import { clipRule, comesBack } from "../vae/loss.ts";
import { readLpips } from "../vae/lpips-file.ts";
import { clipShape, clipSizeOf, shownSize, showPixels, sizeKey } from "./clip-size.ts";
import { conditionKinds } from "./conditioner.ts";
import { conditionOf, taskOf } from "./conditioning.ts";
import { loraShapes } from "./lora.ts";
import { type ModelConfigs, readConfigs } from "./model-folder.ts";
import type { Recipe, TransformerStageRecipe, VaeStageRecipe } from "./schema.ts";
import { stageShape } from "./stage-shape.ts";
import type { PlannedStage } from "./stages.ts";
import { sizesOf } from "./step-plan.ts";
import { tokensOfClip } from "./transformer-graphs.ts";

type Place = {
  /** The recipe's file. */
  readonly file: string;
  /** The run's model. */
  readonly model: string;
};

/**
 * Refuses what would fail when the stage begins, which may be hours from now.
 * @throws ConfigError with the recipe's file and the stage
 * @throws WeightsError for files of LPIPS that are none
 */
export async function checkStage(
  recipe: Recipe,
  planned: PlannedStage,
  { file, model }: Place,
): Promise<void> {
  const configs = await readConfigs(model);
  try {
    if (planned.kind === "vae") await checkVae(planned.stage, recipe, configs);
    else checkTransformer(planned.stage, recipe, configs, model);
  } catch (cause) {
    if (!(cause instanceof ConfigError)) throw cause;
    throw new ConfigError(`${file}: ${planned.where}: ${cause.message}`, { cause });
  }
}

async function checkVae(stage: VaeStageRecipe, { data }: Recipe, { vae }: ModelConfigs): Promise<void> {
  const clip = clipSizeOf(stage, data);
  const shown = { ...clip, ...shownSize(stage.crop, clip) };
  if (shown.width > clip.width || shown.height > clip.height)
    throw new ConfigError(
      `crop is ${stage.crop} pixels, and clips have only ${showPixels(clip)}; take a smaller one`,
    );
  if (!comesBack(clipShape(shown, vae), vae))
    throw new ConfigError(`clips must be ${clipRule(vae)}, got ${sizeKey(shown)} pixels`);
  if (stage.discriminator !== undefined) checkContest(stage);
  if (stage.lpips !== undefined) await readLpips(stage.lpips);
}

function checkContest({ train, batch }: VaeStageRecipe): void {
  if (train !== "all") throw new ConfigError(`a discriminator needs train: all, got ${train}`);
  if (batch > 1)
    throw new ConfigError(
      `a discriminator judges one clip at a time, got a batch of ${batch}; set batch to 1 and accumulate to the ` +
        "clips of a step",
    );
}

function checkTransformer(
  stage: TransformerStageRecipe,
  recipe: Recipe,
  configs: ModelConfigs,
  model: string,
): void {
  checkConditions(recipe, configs, model);
  const { lora } = recipe.transformer;
  if (lora !== undefined && loraShapes(transformerParams(configs.transformer), lora).size === 0)
    throw new ConfigError(
      `transformer.lora.layers names ${lora.layers.join(", ")}, and ${model} has none of these layers`,
    );
  checkSizes(stage, recipe, configs);
}

function checkConditions(
  { transformer: recipe }: Recipe,
  { transformer, pipelineClass }: ModelConfigs,
  model: string,
): void {
  const kind = conditionOf(transformer, recipe)?.kind ?? null;
  for (const wanted of conditionKinds)
    if (recipe[wanted] !== undefined && kind !== wanted) {
      const how = recipe.lora !== undefined && kind === null ? "a LoRA" : "training";
      throw new ConfigError(
        `${model} is no ${taskOf(wanted)} model, and ${how} cannot make it one; ` +
          `leave transformer.${wanted} out, or start from another checkpoint`,
      );
    }
  if (kind === "image" && /Control/.test(pipelineClass))
    throw new ConfigError(
      `${model} is a control model (${pipelineClass}); say in transformer.control what its control videos are`,
    );
}

/** Every size that clips are cut to must divide into latents and tokens, have positions, and fit into a row. */
function checkSizes(stage: TransformerStageRecipe, recipe: Recipe, { vae, transformer }: ModelConfigs): void {
  const { largest, latentSize, placement } = stageShape(recipe, stage, { vae, transformer });
  const tokens = tokensOfClip(transformer, latentSize);
  for (const size of sizesOf(stage, largest)) {
    const latents = latentSize(size);
    if (!Object.values(latents).every(Number.isInteger))
      throw new ConfigError(
        `clips of ${sizeKey(size)} pixels do not divide into latents; frames must be ` +
          `${temporalRatio(vae)}k + 1, and sides multiples of ${spatialRatio(vae)}`,
      );
    stagePositions(
      transformer,
      paddedSize(latents, transformer.patchT),
      transformer.maxTextLength,
      placement,
    );
    if (stage.pack !== undefined && tokens(size) > stage.pack.capacity) {
      const { capacity } = stage.pack;
      const { height, width } = gridOf(transformer, paddedSize(latents, transformer.patchT));
      const row = { tokensPerFrame: height * width, textLength: transformer.maxTextLength };
      const fitting = framesThatFit(latents.frames, { ...row, patchT: transformer.patchT }, capacity);
      const frames = temporalRatio(vae) * (fitting - 1) + 1;
      throw new ConfigError(
        `pack.capacity is ${capacity}, and a clip of ${sizeKey(size)} pixels has ${tokens(size)} tokens with its ` +
          `text; raise the capacity, or ${fitting > 0 ? `set their frames to ${frames}` : "leave that size out"}`,
      );
    }
  }
}
