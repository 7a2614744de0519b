/** @file What a model sees of clips beside the noisy latents while it trains: first frames, masked clips, or control videos. */
import { conditionChannels, type TransformerConfig, takesMask } from "../../models/transformer/config.ts";
import type { Engines } from "../learner.ts";
import type { ClipSize } from "./clip-size.ts";
import type { ClipSource } from "./clips.ts";
import type { Conditioner, ConditionKind } from "./conditioner.ts";
import { controlClips, controlConditions } from "./control-clips.ts";
import { firstFrames } from "./first-frames.ts";
import { type LatentSet, latentSets } from "./latent-set.ts";
import { maskedClips } from "./masked-clips.ts";
import type { ModelConfigs } from "./model-folder.ts";
import { type ControlRecipe, defaultImage, defaultInpaint, type Recipe } from "./schema.ts";

/** What conditioning is made of. */
export type ConditioningSetting = {
  readonly recipe: Recipe;
  readonly configs: ModelConfigs;
  /** The run's model. */
  readonly folder: string;
  /** All sizes of the stage's clips. */
  readonly sizes: readonly ClipSize[];
  /** Posteriors of clips at a size, from the run's cache. */
  readonly encode: (clips: ClipSource, size: ClipSize) => Promise<LatentSet>;
  readonly engines: Engines;
};

/** Whose clips are seen: those of training, or held-out ones, whose images are never dropped. */
export type SeenClips = { readonly clips: ClipSource; readonly seed: number; readonly isTraining: boolean };

/** What a model sees beside the text; of control videos, what they are. */
export type Condition =
  | { readonly kind: Exclude<ConditionKind, "control"> }
  | { readonly kind: "control"; readonly control: ControlRecipe };

/**
 * What a model of these channels is trained to see, null for the text alone. Images and control videos take the same
 * channels; a recipe that has `control` means the latter.
 */
export function conditionOf(
  config: Pick<TransformerConfig, "inChannels" | "outChannels">,
  { control }: Pick<Recipe["transformer"], "control">,
): Condition | null {
  if (conditionChannels(config) === 0) return null;
  if (takesMask(config)) return { kind: "inpaint" };
  return control === undefined ? { kind: "image" } : { kind: "control", control };
}

const tasks: Readonly<Record<ConditionKind, string>> = {
  image: "image-to-video",
  inpaint: "inpainting",
  control: "control",
};

/** What a model is for that sees this beside the text, null for the text alone: "text-to-video", "control", ... */
export function taskOf(kind: ConditionKind | null): string {
  return kind === null ? "text-to-video" : tasks[kind];
}

/** What the model sees, null for a model that sees the text alone. */
export async function conditionerOf(
  { recipe, configs, folder, sizes, encode, engines }: ConditioningSetting,
  { clips, seed, isTraining }: SeenClips,
): Promise<Conditioner | null> {
  const condition = conditionOf(configs.transformer, recipe.transformer);
  if (condition === null) return null;
  const { image = defaultImage, inpaint = defaultInpaint } = recipe.transformer;
  const common = { config: configs.vae, folder, clips, seed };
  switch (condition.kind) {
    case "image": {
      const dropout = isTraining ? image.dropout : 0;
      return firstFrames({ ...common, ...image, dropout }, engines[0]);
    }
    case "inpaint": {
      const isNoisy = configs.transformer.noisyInpaint ?? false;
      return maskedClips({ ...common, isNoisy, masks: inpaint.masks }, engines);
    }
    case "control": {
      const videos = await controlClips(condition.control, clips, recipe);
      const sets = await latentSets(sizes, (size) => encode(videos, size));
      return controlConditions(sets, configs.vae.scalingFactor);
    }
  }
}
