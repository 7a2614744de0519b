/** @file A clip as a folder of numbered PNG frames with its recipe beside them. */
import { mkdir, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import sharp from "sharp";
import { ConfigError } from "../errors.ts";
import { addPngText, xmpPacket } from "./embed.ts";
import type { VideoSink } from "./encode.ts";
import { SOURCE_TAG } from "./provenance.ts";

/** Name of the file beside the frames that holds the recipe as JSON. */
export const RECIPE_FILE = "recipe.json";

/**
 * Writes `frame_00000.png`, ... into the folder `partial`, which must not exist, and moves it to `target` at the end.
 * Every frame carries `tags` as iTXt, the digital source type as XMP; the comment tag (the recipe) is also written to `recipe.json`.
 */
export async function openPngFolder(
  target: string,
  partial: string,
  { width, height, tags }: { width: number; height: number; tags: Record<string, string> },
): Promise<VideoSink> {
  await checkReplaceable(target);
  await mkdir(partial);
  const { [SOURCE_TAG]: digitalSourceType, ...rest } = tags;
  const xmp: Record<string, string> =
    digitalSourceType === undefined ? {} : { "XML:com.adobe.xmp": xmpPacket({ digitalSourceType }) };
  let index = 0;
  return {
    async write(rgb) {
      const png = await sharp(rgb, { raw: { width, height, channels: 3 } })
        .png()
        .toBuffer();
      const name = `frame_${String(index++).padStart(5, "0")}.png`;
      await writeFile(path.join(partial, name), addPngText(png, { ...rest, ...xmp }));
    },
    async flush() {
      if (tags.comment !== undefined) await writeFile(path.join(partial, RECIPE_FILE), `${tags.comment}\n`);
    },
    close: async () => {},
    publish: () => replaceFolder(partial, target),
    discard: () => rm(partial, { recursive: true, force: true }),
  };
}

/** A folder is replaced only if it holds nothing but frames written here, so that a wrong path cannot cost files. */
async function checkReplaceable(target: string): Promise<void> {
  const found = await stat(target).catch(() => null);
  if (!found) return;
  if (!found.isDirectory()) throw new ConfigError(`"${target}" is a file; name a folder for the PNG frames`);
  const foreign = (await readdir(target)).find(
    (name) => name !== RECIPE_FILE && !/^frame_\d+\.png$/.test(name),
  );
  if (foreign !== undefined)
    throw new ConfigError(
      `the folder "${target}" holds other files ("${foreign}"), and writing frames would replace it; ` +
        "name a new or empty folder",
    );
}

async function replaceFolder(partial: string, target: string): Promise<void> {
  const previous = `${partial}.previous`;
  const existed = await rename(target, previous).then(
    () => true,
    () => false,
  );
  try {
    await rename(partial, target);
  } catch (error) {
    if (existed) await rename(previous, target);
    throw error;
  }
  if (existed) await rm(previous, { recursive: true, force: true });
}
