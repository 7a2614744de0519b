/** @file What a run generates while it trains, to be looked at. */
import { signedToRgb } from "../../media/frames.ts";
import { clipSizeOf } from "./clip-size.ts";
import type { ClipSource } from "./clips.ts";
import { conditionKind } from "./conditioning.ts";
import { controlClips } from "./control-clips.ts";
import { readConfigs } from "./model-folder.ts";
import type { Recipe } from "./schema.ts";

/** A frame in RGB bytes. */
export type Picture = { readonly width: number; readonly height: number; readonly rgb: Uint8Array };

/** One clip to generate. */
export type Sample = {
  readonly prompt: string;
  /** What models see of a clip beside the text: its first frame, both ends, or a control video. */
  readonly seen?:
    | { readonly kind: "image"; readonly image: Picture }
    | { readonly kind: "inpaint"; readonly start: Picture; readonly end: Picture }
    | { readonly kind: "control"; readonly frames: readonly Picture[] };
};

/** What generates a clip to look at: a checkpoint folder, with the LoRA that is being trained on it. */
export type ShownModel = { readonly folder: string; readonly loras: readonly { readonly file: string }[] };

/** The prompts of a recipe; for a model that sees more than these as many clips of the training set, by caption. */
export async function samplesOf(
  recipe: Recipe,
  { model, clips }: { readonly model: string; readonly clips: ClipSource },
): Promise<Sample[]> {
  const { sample, transformer } = recipe;
  const kind = conditionKind((await readConfigs(model)).transformer, transformer);
  if (kind === null) return sample.prompts.map((prompt) => ({ prompt }));
  const shown = sample.prompts.slice(0, clips.count).map(async (_, index) => ({
    prompt: clips.caption(index),
    seen: await seenOf(kind, index, clips, recipe),
  }));
  return Promise.all(shown);
}

async function seenOf(
  kind: "image" | "inpaint" | "control",
  index: number,
  clips: ClipSource,
  recipe: Recipe,
): Promise<Sample["seen"]> {
  const { frames: count, ...size } = clipSizeOf(recipe.sample, recipe.data);
  const pictures = (values: Float32Array): Picture[] =>
    [...signedToRgb(values, size)].slice(0, count).map((rgb) => ({ ...size, rgb }));
  if (kind === "image") return { kind, image: pictures(await clips.firstFrame(index, size))[0] };
  if (kind === "control") {
    const { control = { kind: "edges" } } = recipe.transformer;
    const controls = await controlClips(control, clips, recipe);
    return { kind, frames: pictures(await controls.pixels(index, size)) };
  }
  const frames = pictures(await clips.pixels(index, size));
  return { kind, start: frames[0], end: frames[frames.length - 1] };
}
