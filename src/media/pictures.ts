/** @file Pictures and clips from wherever a caller has them: files, folders, bytes, or frames in memory. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { ConfigError } from "../errors.ts";
import type { RgbImage } from "./frames.ts";
import { readImage, readVideo } from "./read.ts";

/** A picture: the name of a file, the bytes of one (PNG, JPEG, WebP, AVIF, GIF, TIFF), or pixels. */
export type PictureSource = string | Uint8Array | RgbImage;

/** A clip: the name of a video file or of a folder of frames, the bytes of a video file, or pictures in order. */
export type ClipSource = string | Uint8Array | Iterable<PictureSource> | AsyncIterable<PictureSource>;

/** One picture. @throws ConfigError for what is missing, empty, damaged or no picture */
export async function readPicture(source: PictureSource): Promise<RgbImage> {
  if (typeof source === "string" || source instanceof Uint8Array) return readImage(source);
  const { rgb, width, height } = source;
  const isWhole = width >= 1 && height >= 1 && rgb.length === width * height * 3;
  if (!isWhole)
    throw new ConfigError(
      `a picture of ${width}x${height} pixels must have ${width * height * 3} bytes of RGB, got ${rgb.length}`,
    );
  return source;
}

/** The frames of a clip, one at a time. @throws ConfigError as `readPicture` and `readVideo` */
export async function* readClip(source: ClipSource): AsyncGenerator<RgbImage> {
  if (typeof source === "string") yield* readVideo(source);
  else if (source instanceof Uint8Array) yield* readVideoBytes(source);
  else for await (const picture of source) yield await readPicture(picture);
}

/** The decoder reads files, so the bytes become one for as long as it takes. */
async function* readVideoBytes(bytes: Uint8Array): AsyncGenerator<RgbImage> {
  const folder = await mkdtemp(path.join(tmpdir(), "cogvideox-clip-"));
  try {
    const file = path.join(folder, "clip");
    await writeFile(file, bytes);
    yield* readVideo(file);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
