/** @file Reads back the recipe (prompt, seed, settings, as JSON) that `createVideoWriter` embeds in what it writes. */
import { open, readdir, readFile, stat } from "node:fs/promises";
import path from "node:path";
import sharp, { type Metadata } from "sharp";
import { ConfigError, nothingAt } from "../errors.ts";
import { inspectVideo } from "./decode.ts";
import { gifComments, xmpDescription } from "./embed.ts";
import { RECIPE_FILE } from "./png-folder.ts";

/**
 * The recipe inside a video, animation, PNG frame or folder of frames, or null when the file carries none (other
 * comments are not recipes).
 * @throws ConfigError for a file that is missing or cannot be read
 */
export async function readRecipe(file: string): Promise<unknown | null> {
  const found = await stat(file).catch((cause) => {
    throw nothingAt(file, cause);
  });
  for (const comment of found.isDirectory() ? await folderComments(file) : await fileComments(file)) {
    const recipe = parseRecipe(comment);
    if (recipe !== null) return recipe;
  }
  return null;
}

/** A recipe is a JSON object or array; a bare number or word in a comment is somebody else's. */
function parseRecipe(comment: string): unknown | null {
  try {
    const value: unknown = JSON.parse(comment);
    return typeof value === "object" ? value : null;
  } catch {
    return null;
  }
}

async function folderComments(folder: string): Promise<string[]> {
  const names = await readdir(folder);
  if (names.includes(RECIPE_FILE)) return [await readFile(path.join(folder, RECIPE_FILE), "utf8")];
  const frame = names.filter((name) => /\.png$/i.test(name)).sort()[0];
  return frame === undefined ? [] : fileComments(path.join(folder, frame));
}

async function fileComments(file: string): Promise<string[]> {
  const magic = await firstBytes(file, 12);
  if (magic.startsWith("GIF8")) return gifComments(await readFile(file));
  if (magic.startsWith("\x89PNG"))
    return ((await imageMetadata(file)).comments ?? []).map(({ text }) => text);
  if (magic.startsWith("RIFF") && magic.endsWith("WEBP")) {
    const { xmp } = await imageMetadata(file);
    const description = xmp && xmpDescription(xmp.toString("utf8"));
    return description ? [description] : [];
  }
  const { comment } = (await inspectVideo(file)).tags;
  return comment === undefined ? [] : [comment];
}

async function imageMetadata(file: string): Promise<Metadata> {
  // Bytes, not the name: libvips remembers files by name and would show the old contents of one that was replaced.
  try {
    return await sharp(await readFile(file)).metadata();
  } catch (cause) {
    throw new ConfigError(`cannot read "${file}": the image is damaged; make it anew`, { cause });
  }
}

async function firstBytes(file: string, count: number): Promise<string> {
  const handle = await open(file);
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(count), 0, count, 0);
    return buffer.toString("latin1", 0, bytesRead);
  } finally {
    await handle.close();
  }
}
