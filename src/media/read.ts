/** @file Reads videos, folders of frames and single images as RGB bytes. */
import { readdir, readFile, stat } from "node:fs/promises";
import path from "node:path";
import sharp from "sharp";
import { ConfigError, nothingAt } from "../errors.ts";
import { decodeFrames, inspectVideo, packetTimestamps, type VideoFrame, type VideoInfo } from "./decode.ts";
import type { RgbImage } from "./frames.ts";

/** How to read a folder of frames, which does not say how fast it plays. */
export interface ReadVideoOptions {
  /** Frames per second of a folder, default 8, the rate of the CogVideoX 1.0 models. Files have their own. */
  readonly folderFps?: number;
}

/**
 * The frames of a video file, an animation (GIF, WebP), or a folder of images in natural order (2 before 10), one at a
 * time. Files are turned upright as their camera noted. Throws ConfigError, before or between frames, for what is
 * missing, no video, damaged, cut short, or (folders) not all of one size.
 */
export async function* readVideo(file: string, options: ReadVideoOptions = {}): AsyncGenerator<VideoFrame> {
  if (!(await isFolder(file))) {
    yield* decodeFrames(file);
    return;
  }
  let first: RgbImage | undefined;
  let index = 0;
  for (const frame of await frameFiles(file)) {
    const image = await readImage(frame);
    first ??= image;
    if (image.width !== first.width || image.height !== first.height)
      throw new ConfigError(
        `"${frame}" is ${image.width}x${image.height}, but the first frame of its folder is ` +
          `${first.width}x${first.height}; the frames of a video have one size`,
      );
    yield { ...image, timestampSeconds: index++ / (options.folderFps ?? 8) };
  }
}

/** Size, rate and length of what `readVideo` would read, without decoding it. Throws ConfigError as `readVideo`. */
export async function probeVideo(file: string, options: ReadVideoOptions = {}): Promise<VideoInfo> {
  if (!(await isFolder(file))) return inspectVideo(file);
  const files = await frameFiles(file);
  const { width, height, format } = await uprightSize(files[0]);
  const fps = options.folderFps ?? 8;
  return {
    width,
    height,
    fps,
    frames: files.length,
    durationSeconds: files.length / fps,
    codec: format,
    tags: {},
  };
}

/**
 * When each frame that `readVideo` would give is shown: seconds since the first, ascending. Without decoding where the
 * file says it for every packet, which a damaged file may say wrongly. Throws ConfigError as `readVideo`.
 */
export async function readTimestamps(file: string, options: ReadVideoOptions = {}): Promise<Float64Array> {
  if (await isFolder(file)) {
    const fps = options.folderFps ?? 8;
    return Float64Array.from(await frameFiles(file), (_, index) => index / fps);
  }
  const found = await packetTimestamps(file);
  return found !== null && found.length > 0 ? found : decodedTimestamps(file);
}

/** As `readTimestamps`, by decoding all of it: slower, and what is shown for certain. */
export async function decodedTimestamps(file: string, options: ReadVideoOptions = {}): Promise<Float64Array> {
  const times: number[] = [];
  for await (const { timestampSeconds } of readVideo(file, options)) times.push(timestampSeconds);
  return Float64Array.from(times);
}

/**
 * One image (PNG, JPEG, WebP, AVIF, GIF, TIFF; a file name or its bytes) as 8-bit sRGB: turned upright by its EXIF
 * orientation, other colour spaces (CMYK, grey, 16-bit, embedded profiles) converted, transparency laid on black,
 * and of an animation the first frame. Throws ConfigError for what is missing or no image.
 */
export async function readImage(source: string | Uint8Array): Promise<RgbImage> {
  const name = typeof source === "string" ? `"${source}"` : `the image of ${source.length} bytes`;
  if (typeof source === "string" && (await isFolder(source)))
    throw new ConfigError(`"${source}" is a folder; give the name of an image file`);
  // Bytes, not the name: libvips remembers files by name and would show the old picture of one that was replaced.
  const bytes = typeof source === "string" ? await readFile(source) : source;
  try {
    const { data, info } = await sharp(bytes, { failOn: "error" })
      .autoOrient()
      .flatten({ background: "black" })
      .toColourspace("srgb")
      .raw({ depth: "uchar" })
      .toBuffer({ resolveWithObject: true });
    const rgb = new Uint8Array(data.buffer, data.byteOffset, data.length);
    return { rgb, width: info.width, height: info.height };
  } catch (cause) {
    throw notAnImage(name, cause);
  }
}

async function uprightSize(file: string): Promise<{ width: number; height: number; format: string }> {
  try {
    const { autoOrient, format } = await sharp(await readFile(file)).metadata();
    return { ...autoOrient, format };
  } catch (cause) {
    throw notAnImage(`"${file}"`, cause);
  }
}

function notAnImage(name: string, cause: unknown): ConfigError {
  return new ConfigError(
    `cannot read ${name}: it is damaged or not a supported image; give a PNG, JPEG, WebP, AVIF, GIF or TIFF`,
    { cause },
  );
}

async function frameFiles(folder: string): Promise<string[]> {
  const names = (await readdir(folder)).filter((name) => /^[^.].*\.(png|jpe?g|webp|avif|tiff?)$/i.test(name));
  if (names.length === 0)
    throw new ConfigError(`the folder "${folder}" holds no images; give a folder of PNG or JPEG frames`);
  const natural = new Intl.Collator("en", { numeric: true });
  return names.sort(natural.compare).map((name) => path.join(folder, name));
}

async function isFolder(file: string): Promise<boolean> {
  const found = await stat(file).catch((cause) => {
    throw nothingAt(file, cause);
  });
  return found.isDirectory();
}
