/** @file What a model sees of clips beside the noisy latents while it trains: first frames, masked clips, or control videos. */
// F latent frames, C' channels beside those of the noise, h and w latent height and width
import { ConfigError } from "../../errors.ts";
import type { TransformerConfig } from "../../models/transformer/config.ts";
import type { Engines } from "../learner.ts";
import { type ClipSize, sizeKey } from "./clip-size.ts";
import type { ClipSource } from "./clips.ts";
import { controlClips, controlConditions } from "./control-clips.ts";
import { firstFrames } from "./first-frames.ts";
import type { LatentSet } from "./latent-set.ts";
import { maskedClips } from "./masked-clips.ts";
import type { ModelConfigs } from "./model-folder.ts";
import { defaultImage, defaultInpaint, type Recipe } from "./schema.ts";

/** A sample of a step: its number there, the clip that it shows, and the size that the clip is cut to. */
export type ConditionedSample = {
  readonly place: number;
  readonly index: number;
  readonly size: ClipSize;
};

export type Conditioner = {
  /**
   * Conditioning latents `[F, C', h, w]` of samples of one size: functions of the seed, the step and the sample.
   * @param frames F, with those that fill temporal patches
   */
  readonly latents: (
    step: number,
    samples: readonly ConditionedSample[],
    frames: number,
  ) => Promise<Float32Array[]>;
  readonly close: () => Promise<void>;
};

/** What conditioning is made of. */
export type ConditioningSetting = {
  readonly recipe: Recipe;
  readonly configs: ModelConfigs;
  /** The run's model. */
  readonly folder: string;
  /** All sizes of the stage's clips, and the largest. */
  readonly sizes: readonly ClipSize[];
  readonly largest: ClipSize;
  /** Posteriors of clips at a size, from the run's cache. */
  readonly encode: (clips: ClipSource, size: ClipSize) => Promise<LatentSet>;
  readonly engines: Engines;
};

/** Whose clips are looked at: those of training, or held-out ones, whose images are never dropped. */
export type Looking = { readonly clips: ClipSource; readonly seed: number; readonly isTraining: boolean };

export type ConditionKind = "image" | "inpaint" | "control";

/**
 * What a model of these channels is trained to see, null for the text alone. Images and control videos take the same
 * channels; a recipe that has `control` means the latter.
 */
export function conditionKind(
  { inChannels, outChannels }: Pick<TransformerConfig, "inChannels" | "outChannels">,
  { control }: Pick<Recipe["transformer"], "control">,
): ConditionKind | null {
  if (inChannels === outChannels) return null;
  if (inChannels === 2 * outChannels + 1) return "inpaint";
  return control === undefined ? "image" : "control";
}

/** What the model sees, null for a model that sees the text alone. */
export async function conditionerOf(
  { recipe, configs, folder, sizes, largest, encode, engines }: ConditioningSetting,
  { clips, seed, isTraining }: Looking,
): Promise<Conditioner | null> {
  const { image = defaultImage, inpaint = defaultInpaint, control } = recipe.transformer;
  const common = { config: configs.vae, folder, clips, seed };
  switch (conditionKind(configs.transformer, recipe.transformer)) {
    case null:
      return null;
    case "image": {
      const dropout = isTraining ? image.dropout : 0;
      return firstFrames({ ...common, ...image, dropout, size: largest }, engines[0]);
    }
    case "inpaint": {
      const isNoisy = configs.transformer.noisyInpaint ?? false;
      return maskedClips({ ...common, isNoisy, masks: inpaint.masks }, engines);
    }
    case "control": {
      if (control === undefined) throw new ConfigError("transformer.control is missing");
      const source = await controlClips(control, clips, recipe);
      return controlConditions(await encodedAt(sizes, source, encode), configs.vae.scalingFactor);
    }
  }
}

async function encodedAt(
  sizes: readonly ClipSize[],
  clips: ClipSource,
  encode: ConditioningSetting["encode"],
): Promise<ReadonlyMap<string, LatentSet>> {
  const sets = new Map<string, LatentSet>();
  for (const size of sizes) sets.set(sizeKey(size), await encode(clips, size));
  return sets;
}
