/** @file What a run generates while it trains, to be looked at. */
import { signedToRgb } from "../../media/frames.ts";
import { takesImage } from "../../models/transformer/config.ts";
import type { ClipSource } from "./clips.ts";
import { readConfigs } from "./model-folder.ts";
import type { Recipe } from "./schema.ts";

/** One clip to generate. */
export type Sample = {
  readonly prompt: string;
  /** What the clip begins with, for image-to-video models. */
  readonly image?: { readonly width: number; readonly height: number; readonly rgb: Uint8Array };
};

/** What generates a clip to look at: a checkpoint folder, with the LoRA that is being trained on it. */
export type ShownModel = { readonly folder: string; readonly loras: readonly { readonly file: string }[] };

/** The prompts of a recipe; for an image-to-video model as many clips of the training set, by caption and first frame. */
export async function samplesOf(
  { sample, data }: Recipe,
  { model, clips }: { readonly model: string; readonly clips: ClipSource },
): Promise<Sample[]> {
  if (!takesImage((await readConfigs(model)).transformer))
    return sample.prompts.map((prompt) => ({ prompt }));
  const size = sample.size ?? data.size;
  const shown = sample.prompts.slice(0, clips.count).map(async (_, index) => {
    const [rgb] = signedToRgb(await clips.firstFrame(index, size), size);
    return { prompt: clips.caption(index), image: { ...size, rgb } };
  });
  return Promise.all(shown);
}
