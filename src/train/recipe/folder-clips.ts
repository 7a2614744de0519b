/** @file Clips of a data set in a folder, as a list to train on. */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { inspectClip, planClip, readClip } from "../../data/clips/clip.ts";
import { readClipFolder, requireWhole } from "../../data/clips/folder.ts";
import type { ClipSource as Video } from "../../data/clips/source.ts";
import { ConfigError } from "../../errors.ts";
import { type PixelSize, rgbToSigned } from "../../media/frames.ts";
import { exists } from "../../weights/file.ts";
import { digestOfFacts } from "../cache/key.ts";
import { type ClipSource, framesAt } from "./clips.ts";
import type { DataRecipe } from "./schema.ts";

type FolderRecipe = Extract<DataRecipe, { kind: "folder" }>;

/**
 * Opens a data set. Every clip is taken from its video at the recipe's rate, scaled and cut to the size that is asked
 * for.
 * @param seed of random windows
 * @throws ConfigError where there is none, rows of it are broken, or videos are too short
 */
export async function folderClips(data: FolderRecipe, seed: number): Promise<ClipSource> {
  return takenFrom(await videosIn(data), data, seed);
}

/**
 * The control videos of a data set: under the names of its own videos in another folder, and taken like these.
 * @throws ConfigError where some are missing or too short
 */
export async function controlVideos(data: FolderRecipe, folder: string, seed: number): Promise<ClipSource> {
  const videos = (await videosIn(data)).map((video) => ({
    ...video,
    file: join(folder, video.id.replace(/#\d+$/, "")),
  }));
  const missing: string[] = [];
  for (const { file } of videos) if (!(await exists(file))) missing.push(file);
  if (missing.length > 0)
    throw new ConfigError(
      `${missing.length} of the ${videos.length} videos in ${data.path} have no control video: there is no ${missing[0]}`,
    );
  return takenFrom(videos, { ...data, path: folder }, seed);
}

async function videosIn({ path }: FolderRecipe): Promise<readonly Video[]> {
  const list = await readClipFolder(path);
  requireWhole(list, path);
  return list.clips;
}

async function takenFrom(clips: readonly Video[], data: FolderRecipe, seed: number): Promise<ClipSource> {
  const { frames, fps, window, short } = data;
  if (short === "refuse") await requireLong(clips, data);
  const read = async (index: number, size: PixelSize, wanted: number, rate = fps) => {
    // A random window begins where there is room for all of the clip; the others begin with the video.
    const request = {
      ...size,
      frames: window === "random" ? framesAt(data, rate) : wanted,
      fps: rate,
      window,
      pad: true,
    };
    const plan = await planClip(clips[index], request, { seed, epoch: 0, index });
    const { rgb } = await readClip(clips[index], plan);
    return rgbToSigned(rgb.subarray(0, wanted * 3 * size.width * size.height), size);
  };
  return {
    count: clips.length,
    frames,
    fps,
    pixels: (index, size, rate = fps) => read(index, size, framesAt(data, rate), rate),
    firstFrame: (index, size) => read(index, size, 1),
    caption: (index) => clips[index].caption,
    shape: (index) => inspectClip(clips[index], fps),
    content: (index) => ({ file: clips[index].file }),
    taken: { fps, window, ...(window === "random" ? { seed } : {}) },
    identity: await identityOf(clips),
  };
}

async function requireLong(clips: readonly Video[], { path, frames, fps }: FolderRecipe): Promise<void> {
  const found: string[] = [];
  for (const clip of clips) {
    const shape = await inspectClip(clip, fps);
    if (shape.frames < frames) found.push(`${clip.id} has ${shape.frames}`);
  }
  if (found.length > 0)
    throw new ConfigError(
      `${found.length} of the ${clips.length} videos in ${path} have fewer than ${frames} frames at ${fps} a second: ` +
        `${found.slice(0, 3).join(", ")}${found.length > 3 ? ", ..." : ""}; take fewer frames, leave them out, or set ` +
        "data.short to freeze, which goes on with their last frame",
    );
}

/** Names, sizes in bytes and captions, in their order. */
async function identityOf(clips: readonly Video[]): Promise<string> {
  const facts: (string | number)[][] = [];
  for (const { id, file, caption } of clips) facts.push([id, (await stat(file)).size, caption]);
  return digestOfFacts(facts);
}
