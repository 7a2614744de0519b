/** @file Writes a video frame by frame: MP4, WebM, MKV, GIF, WebP or a folder of PNG, complete or not at all. */
import { access, constants, rename, rm, stat } from "node:fs/promises";
import path from "node:path";
import { ConfigError } from "../errors.ts";
import { appendGifComment, appendGifXmp, appendMp4Xmp, appendWebpXmp, xmpPacket } from "./embed.ts";
import { openEncoder, type VideoSink } from "./encode.ts";
import { fileFailure, systemFailure } from "./ffmpeg.ts";
import { formatOf, recordingOf, type VideoFormat } from "./formats.ts";
import { frameRate } from "./frame-rate.ts";
import { openPngFolder } from "./png-folder.ts";
import { SOURCE_TAG } from "./provenance.ts";

/** What to write. */
export interface VideoWriterOptions {
  /** Pixels, 1 to 16384. In MP4 an odd size grows by one, repeating the last column or row (H.264 4:2:0 is even). */
  readonly width: number;
  readonly height: number;
  /** Frames per second, above 0; 23.976, 29.97 and 59.94 mean the exact broadcast fractions. */
  readonly fps: number;
  /** Default: by the name of the file, see `formatOf`. */
  readonly format?: VideoFormat;
  /** Any JSON value describing how the clip was made; `readRecipe` finds it again in every format. */
  readonly recipe?: unknown;
  /** Where the content comes from, as an IPTC digital source type (a URI, such as `AI_GENERATED`); in every format. */
  readonly digitalSourceType?: string;
  /** Further tags (title, artist, ...); kept by MP4, WebM, MKV and PNG. `recipe` takes the tag `comment`. */
  readonly metadata?: Record<string, string>;
  /** 0 (small file) to 100 (best picture) for MP4, WebM and WebP, default 80 (H.264 crf 17). */
  readonly quality?: number;
}

/** A video being written. Calls may overlap; they are carried out in order. */
export interface VideoWriter {
  /** Appends one frame: `height * width * 3` bytes, rows top-down, R G B. The bytes are copied before it resolves. */
  write(rgb: Uint8Array): Promise<void>;
  /** Completes the file and moves it to its name, replacing an older one. Throws when no frame was written. */
  finish(): Promise<void>;
  /** Stops and removes what was written; an older file of the same name stays. Harmless after `finish`. */
  abort(): Promise<void>;
}

/**
 * Starts a video at `file`. Frames go to a hidden file beside it (`.name.partial-...`), which takes the name of `file`
 * at `finish`; any failure removes it. Memory holds a few frames, never the clip (GIF: a palette per frame).
 * Throws ConfigError for an unknown extension, impossible sizes, or a folder that is missing or not writable, and
 * Error with a remedy when writing fails, as on a full disk.
 */
export async function createVideoWriter(file: string, options: VideoWriterOptions): Promise<VideoWriter> {
  const format = options.format ?? formatOf(file);
  const target = path.resolve(file);
  checkOptions(options);
  await checkTarget(target, format);
  const sink = await openSink(target, format, options).catch((error) => {
    throw systemFailure("create", file, error);
  });
  return videoWriter(file, sink, options.width * options.height * 3);
}

function checkOptions({ width, height, quality = 80, metadata = {} }: VideoWriterOptions): void {
  for (const [name, value] of Object.entries({ width, height }))
    if (!Number.isInteger(value) || value < 1 || value > 16384)
      throw new ConfigError(`${name} must be a whole number from 1 to 16384, got ${value}.`);
  if (!(quality >= 0 && quality <= 100))
    throw new ConfigError(`quality must be a number from 0 to 100, got ${quality}.`);
  const wrongTag = Object.keys(metadata).find((name) => !/^[\x20-\x7e]{1,79}$/.test(name));
  if (wrongTag !== undefined)
    throw new ConfigError(
      `A metadata tag is named by 1 to 79 ASCII characters (title, artist), got "${wrongTag}".`,
    );
}

async function checkTarget(target: string, format: VideoFormat): Promise<void> {
  const folder = path.dirname(target);
  const found = await stat(folder).catch(() => null);
  if (!found?.isDirectory())
    throw new ConfigError(
      `The folder "${folder}" for "${path.basename(target)}" does not exist; create it or choose another.`,
    );
  await access(folder, constants.W_OK).catch((cause) => {
    throw new ConfigError(
      `The folder "${folder}" is not writable; change its permissions or choose another.`,
      {
        cause,
      },
    );
  });
  if (format !== "png" && (await stat(target).catch(() => null))?.isDirectory())
    throw new ConfigError(`"${target}" is a folder; give the name of a .${format} file.`);
}

let opened = 0;

async function openSink(
  target: string,
  format: VideoFormat,
  options: VideoWriterOptions,
): Promise<VideoSink> {
  const { base, dir } = path.parse(target);
  const extension = format === "png" ? "" : `.${format}`;
  const partial = path.join(dir, `.${base}.partial-${process.pid}-${++opened}${extension}`);
  const tags = fileTags(options);
  const { width, height } = options;
  const fps = frameRate(options.fps);
  if (format === "png") return openPngFolder(target, partial, { width, height, tags });
  const discard = () => rm(partial, { force: true });
  const recording = recordingOf(format, options.quality ?? 80);
  const encoder = await openEncoder(partial, recording, { width, height, fps, tags, name: target }).catch(
    async (error) => {
      await discard();
      throw error;
    },
  );
  return {
    ...encoder,
    async publish() {
      await embed(partial, format, tags.comment, options);
      await rename(partial, target);
    },
    discard,
  };
}

function fileTags({ metadata, recipe, digitalSourceType }: VideoWriterOptions): Record<string, string> {
  const source: Record<string, string> =
    digitalSourceType === undefined ? {} : { [SOURCE_TAG]: digitalSourceType };
  if (recipe === undefined) return { ...metadata, ...source };
  try {
    return { ...metadata, ...source, comment: JSON.stringify(recipe) };
  } catch (cause) {
    throw new ConfigError(`The recipe cannot be written as JSON: ${(cause as Error).message}.`, { cause });
  }
}

/** WebM and MKV carry everything in their tags; MP4 has the comment; GIF and WebP get both when they are complete. */
async function embed(
  file: string,
  format: VideoFormat,
  comment: string | undefined,
  { digitalSourceType, width, height }: VideoWriterOptions,
): Promise<void> {
  const xmp = digitalSourceType === undefined ? null : xmpPacket({ digitalSourceType });
  if (format === "gif" && comment !== undefined) await appendGifComment(file, comment);
  if (format === "gif" && xmp) await appendGifXmp(file, xmp);
  if (format === "mp4" && xmp) await appendMp4Xmp(file, xmp);
  if (format === "webp" && (xmp || comment !== undefined))
    await appendWebpXmp(file, xmpPacket({ description: comment, digitalSourceType }), { width, height });
}

function videoWriter(file: string, sink: VideoSink, frameBytes: number): VideoWriter {
  let state: "open" | "finished" | "abandoned" = "open";
  let numFrames = 0;
  let last: Promise<unknown> = Promise.resolve();

  function inTurn<T>(task: () => Promise<T>): Promise<T> {
    const result = last.then(task);
    last = result.catch(() => {});
    return result;
  }

  async function abandon(): Promise<void> {
    state = "abandoned";
    await sink.close();
    await sink.discard();
  }

  async function orAbandon(task: () => Promise<void>): Promise<void> {
    if (state !== "open")
      throw new Error(`"${file}" is ${state}; no frame can be added and it cannot be finished.`);
    try {
      await task();
    } catch (error) {
      await abandon();
      throw systemFailure("write", file, error);
    }
  }

  return {
    write: (rgb) =>
      inTurn(() =>
        orAbandon(async () => {
          if (rgb.length !== frameBytes)
            throw new ConfigError(`A frame of "${file}" has ${frameBytes} bytes, got ${rgb.length}.`);
          await sink.write(rgb);
          numFrames++;
        }),
      ),
    finish: () =>
      inTurn(() =>
        orAbandon(async () => {
          if (numFrames === 0)
            throw fileFailure("finish", file, undefined, "no frame was written", undefined);
          await sink.flush();
          await sink.close();
          await sink.publish();
          state = "finished";
        }),
      ),
    abort: () => inTurn(async () => (state === "open" ? abandon() : undefined)),
  };
}
