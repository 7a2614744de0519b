/** @file What control models see of clips while they train: a control video beside each, encoded once. */
import { edgesOf } from "../../data/clips/edges.ts";
import { latentsFrom } from "../../diffusion/posterior.ts";
import { rgbToSigned, signedToRgb } from "../../media/frames.ts";
import { padFrames } from "../diffusion/temporal-padding.ts";
import { sizeKey } from "./clip-size.ts";
import type { ClipSource } from "./clips.ts";
import type { Conditioner } from "./conditioner.ts";
import { controlVideos } from "./folder-clips.ts";
import type { LatentSet } from "./latent-set.ts";
import type { ControlRecipe, Recipe } from "./schema.ts";

/** The control videos of clips, as clips of the same numbers. */
export async function controlClips(
  control: ControlRecipe,
  clips: ClipSource,
  { data, seed }: Pick<Recipe, "data" | "seed">,
): Promise<ClipSource> {
  if (control.kind === "edges") return edgeClips(clips);
  if (data.kind !== "folder") throw new Error("the recipe has been checked: shapes have no control videos");
  return controlVideos(data, control.path, seed);
}

/** The edges of clips, white on black. */
function edgeClips(clips: ClipSource): ClipSource {
  return {
    ...clips,
    pixels: async (index, size) => {
      const frames = [...signedToRgb(await clips.pixels(index, size), size)];
      return rgbToSigned(Buffer.concat(frames.map((frame) => edgesOf(frame, size))), size);
    },
    taken: { ...clips.taken, control: "edges" },
  };
}

/** Means of the posteriors, as inference takes control videos: they are not random. @param sets by `sizeKey` */
export function controlConditions(sets: ReadonlyMap<string, LatentSet>, scalingFactor: number): Conditioner {
  return {
    latents: (_, samples) =>
      Promise.all(
        samples.map(async ({ index, size, frames }) => {
          const moments = await sets.get(sizeKey(size))!.moments(index);
          return padFrames(latentsFrom(moments, null, scalingFactor), moments.shape[0], frames);
        }),
      ),
    close: async () => {},
  };
}
