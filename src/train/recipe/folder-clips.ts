/** @file Clips of a data set in a folder, as a list to train on. */
import { planClip, readClip } from "../../data/clips/clip.ts";
import { readClipFolder, requireWhole } from "../../data/clips/folder.ts";
import { rgbToSigned } from "../../media/frames.ts";
import type { PixelSize } from "./clip-size.ts";
import type { ClipSource } from "./clips.ts";
import type { DataRecipe } from "./schema.ts";

/**
 * Opens a data set. Every clip is taken from the beginning of its video at the recipe's rate, scaled and cut to the
 * size that is asked for; a video that is too short stays on its last frame.
 * @throws ConfigError where there is none, or rows of it are broken
 */
export async function folderClips(data: Extract<DataRecipe, { kind: "folder" }>): Promise<ClipSource> {
  const { path, frames, fps } = data;
  const list = await readClipFolder(path);
  requireWhole(list, path);
  const { clips } = list;
  const read = async (index: number, size: PixelSize, frames: number) => {
    const plan = await planClip(clips[index], { ...size, frames, fps, pad: true });
    return rgbToSigned((await readClip(clips[index], plan)).rgb, size);
  };
  return {
    count: clips.length,
    frames,
    fps,
    pixels: (index, size) => read(index, size, frames),
    firstFrame: (index, size) => read(index, size, 1),
    caption: (index) => clips[index].caption,
    content: (index) => ({ file: clips[index].file }),
  };
}
