/** @file What a run generates while it trains, to be looked at. */
import { type RgbImage, signedToRgb } from "../../media/frames.ts";
import { clipSizeOf } from "./clip-size.ts";
import type { ClipSource } from "./clips.ts";
import { type Condition, conditionOf } from "./conditioning.ts";
import { controlClips } from "./control-clips.ts";
import { readConfigs } from "./model-folder.ts";
import type { Recipe } from "./schema.ts";

/** One clip to generate. */
export type Sample = {
  readonly prompt: string;
  /** What models see of a clip beside the text: its first frame, both ends, or a control video. */
  readonly seen?:
    | { readonly kind: "image"; readonly image: RgbImage }
    | { readonly kind: "inpaint"; readonly start: RgbImage; readonly end: RgbImage }
    | { readonly kind: "control"; readonly frames: readonly RgbImage[] };
};

/** What generates a clip to look at: a checkpoint folder, with the LoRA that is being trained on it. */
export type ShownModel = { readonly folder: string; readonly loras: readonly { readonly file: string }[] };

/** The prompts of a recipe; for a model that sees more than these as many clips of the training set, by caption. */
export async function samplesOf(
  recipe: Recipe,
  { model, clips }: { readonly model: string; readonly clips: ClipSource },
): Promise<Sample[]> {
  const { sample, transformer } = recipe;
  const condition = conditionOf((await readConfigs(model)).transformer, transformer);
  if (condition === null) return sample.prompts.map((prompt) => ({ prompt }));
  const seen = await seenOf(condition, clips, recipe);
  const shown = sample.prompts.slice(0, clips.count).map(async (_, index) => ({
    prompt: clips.caption(index),
    seen: await seen(index),
  }));
  return Promise.all(shown);
}

/** What the model is shown of clips by their number, at the sizes of the samples. */
async function seenOf(
  condition: Condition,
  clips: ClipSource,
  recipe: Recipe,
): Promise<(index: number) => Promise<Sample["seen"]>> {
  const { frames: count, ...size } = clipSizeOf(recipe.sample, recipe.data);
  const pictures = (values: Float32Array): RgbImage[] =>
    [...signedToRgb(values, size)].slice(0, count).map((rgb) => ({ ...size, rgb }));
  const { kind } = condition;
  switch (kind) {
    case "image":
      return async (index) => ({ kind, image: pictures(await clips.firstFrame(index, size))[0] });
    case "inpaint":
      return async (index) => {
        const frames = pictures(await clips.pixels(index, size));
        return { kind, start: frames[0], end: frames[frames.length - 1] };
      };
    case "control": {
      const videos = await controlClips(condition.control, clips, recipe);
      return async (index) => ({ kind, frames: pictures(await videos.pixels(index, size)) });
    }
  }
}
