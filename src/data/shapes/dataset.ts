/** @file Writes a folder of shapes clips with their captions: resumable, complete or not at all, CC0. */
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CancelledError, ConfigError } from "../../errors.ts";
import { createVideoWriter } from "../../media/write.ts";
import { captionOf } from "./caption.ts";
import { renderScene } from "./render.ts";
import { drawScene, type Scene, type Split } from "./scene.ts";

/** What decides the bytes of every clip; kept in `shapes.json`, so that a folder is only ever continued as begun. */
export interface ShapesSettings {
  readonly seed: number;
  /** Width and height in pixels. */
  readonly size: number;
  readonly frames: number;
  readonly fps: number;
  readonly split: Split;
  /** "both" puts the short one under `caption` and the long one under `long_caption`. */
  readonly captions: "short" | "long" | "both";
}

/** One line of `metadata.jsonl`. */
export interface ShapesEntry {
  /** Relative to the folder. */
  readonly file: string;
  readonly caption: string;
  readonly long_caption?: string;
  readonly scene: Scene;
  readonly seed: number;
  readonly index: number;
}

export interface WriteShapesOptions extends ShapesSettings {
  readonly clips: number;
  /** Called for every clip, `kept` where it was there already. */
  readonly onClip?: (done: number, kept: boolean) => void;
  /** Stops between clips; what is complete stays for the next call. */
  readonly signal?: AbortSignal;
}

const SETTINGS = "shapes.json";
const METADATA = "metadata.jsonl";

/**
 * Makes `folder` a data set: `videos/000000.mp4` and so on, `metadata.jsonl`, `LICENSE`, `shapes.json`. Clips that are
 * there are kept; the list of clips is written when all are. Returns how many clips were written and kept.
 * Throws ConfigError where the folder holds something else, or clips of other settings or more of them; CancelledError
 * when the signal fires.
 */
export async function writeShapes(
  folder: string,
  options: WriteShapesOptions,
): Promise<{ readonly written: number; readonly kept: number }> {
  checkOptions(options);
  const { clips, onClip, signal } = options;
  await openFolder(folder, settingsOf(options), clips);
  const there = new Set(await readdir(join(folder, "videos")));
  await removePartial(folder, there);
  let kept = 0;
  for (let index = 0; index < clips; index++) {
    if (signal?.aborted) throw new CancelledError(stopped(folder, index, clips));
    const isThere = there.has(videoName(index));
    if (isThere) kept++;
    else await writeClip(folder, index, options);
    onClip?.(index + 1, isThere);
  }
  const lines = Array.from({ length: clips }, (_, index) => JSON.stringify(shapesEntry(index, options)));
  await replaceFile(join(folder, METADATA), `${lines.join("\n")}\n`);
  return { written: clips - kept, kept };
}

/** What the line of `metadata.jsonl` for this clip says: a pure function of its arguments. */
function shapesEntry(index: number, { seed, split, captions }: ShapesSettings): ShapesEntry {
  const scene = drawScene({ seed, index, split });
  const caption = captionOf(scene, { seed, index, length: captions === "long" ? "long" : "short" });
  const long = captions === "both" ? { long_caption: captionOf(scene, { seed, index, length: "long" }) } : {};
  return { file: `videos/${videoName(index)}`, caption, ...long, scene, seed, index };
}

function videoName(index: number): string {
  return `${String(index).padStart(6, "0")}.mp4`;
}

function checkOptions({ clips, size, frames, fps, seed }: WriteShapesOptions): void {
  for (const [name, value, least] of [
    ["clips", clips, 1],
    ["size", size, 16],
    ["frames", frames, 1],
    ["seed", seed, 0],
  ] as const)
    if (!Number.isSafeInteger(value) || value < least)
      throw new ConfigError(`${name} must be a whole number, ${least} or more; got ${value}`);
  if (size % 2 !== 0) throw new ConfigError(`size must be even, as the videos are H.264; got ${size}`);
  if (!(fps > 0)) throw new ConfigError(`fps must be above 0; got ${fps}`);
}

function settingsOf({ seed, size, frames, fps, split, captions }: ShapesSettings): ShapesSettings {
  return { seed, size, frames, fps, split, captions };
}

/** Makes the folder, or checks that it is one of these settings. */
async function openFolder(folder: string, settings: ShapesSettings, clips: number): Promise<void> {
  await mkdir(folder, { recursive: true });
  const path = join(folder, SETTINGS);
  const begun = await readFile(path, "utf8").catch(() => null);
  if (begun === null && (await readdir(folder)).length > 0)
    throw new ConfigError(`${folder} holds files that are no shapes data set; give an empty or new folder`);
  if (begun !== null) checkBegun(folder, JSON.parse(begun), settings, clips);
  await mkdir(join(folder, "videos"), { recursive: true });
  await replaceFile(path, `${JSON.stringify({ ...settings, clips }, null, 2)}\n`);
  await replaceFile(join(folder, "LICENSE"), LICENSE);
}

function checkBegun(
  folder: string,
  begun: Readonly<Record<string, unknown>>,
  settings: ShapesSettings,
  clips: number,
): void {
  for (const [name, value] of Object.entries(settings))
    if (begun[name] !== value)
      throw new ConfigError(
        `${folder} was begun with ${name} ${begun[name]}, not ${value}; give the same settings or another folder`,
      );
  if (typeof begun.clips === "number" && begun.clips > clips)
    throw new ConfigError(
      `${folder} was begun with ${begun.clips} clips; ask for as many or more, not ${clips}`,
    );
}

/** Half-written videos of a process that was killed. */
async function removePartial(folder: string, names: ReadonlySet<string>): Promise<void> {
  for (const name of names)
    if (name.startsWith(".") && name.includes(".partial-"))
      await rm(join(folder, "videos", name), { force: true });
}

const QUALITY = 92;

async function writeClip(folder: string, index: number, options: WriteShapesOptions): Promise<void> {
  const { file, scene, caption } = shapesEntry(index, options);
  const { size, frames, fps } = options;
  const rgb = renderScene(scene, { width: size, height: size, frames });
  const writer = await createVideoWriter(join(folder, file), {
    width: size,
    height: size,
    fps,
    quality: QUALITY,
    metadata: { title: caption },
  });
  try {
    const bytes = size * size * 3;
    for (let frame = 0; frame < frames; frame++)
      await writer.write(rgb.subarray(frame * bytes, (frame + 1) * bytes));
    await writer.finish();
  } catch (error) {
    await writer.abort();
    throw error;
  }
}

/** Writes beside the file and renames, so that no reader ever meets half of it. */
async function replaceFile(path: string, text: string): Promise<void> {
  const partial = `${path}.partial-${process.pid}`;
  await writeFile(partial, text);
  await rename(partial, path);
}

function stopped(folder: string, done: number, clips: number): string {
  return `stopped after ${done} of ${clips} clips; the same command continues in ${folder}`;
}

const LICENSE = `The clips and captions in this folder were made by a program ("cogvideox data make-shapes").

To the extent possible under law, the person who associated CC0 with this work has waived all copyright and related or
neighbouring rights to it: CC0 1.0 Universal, https://creativecommons.org/publicdomain/zero/1.0/
`;
