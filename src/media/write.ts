/** @file Writes a video frame by frame: MP4, WebM, MKV, GIF, WebP or a folder of PNG, complete or not at all. */
import { access, constants, rename, rm, stat } from "node:fs/promises";
import path from "node:path";
import { ConfigError } from "../errors.ts";
import { draftOf } from "./drafts.ts";
import { appendGifComment, appendGifXmp, appendMp4Xmp, appendWebpXmp, xmpPacket } from "./embed.ts";
import { openEncoder, type VideoSink } from "./encode.ts";
import { fileFailure, systemFailure } from "./ffmpeg.ts";
import { formatOf, recordingOf, type VideoFormat } from "./formats.ts";
import { openFragmentedFile, openStdout, STDOUT } from "./fragments.ts";
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
  /** MP4 only: the file has its name from its first frames on, and plays as far as it is written. Off unless given. */
  readonly fragmented?: boolean;
}

/** A video being written. Calls may overlap; they are carried out in order. */
export interface VideoWriter {
  /** Appends one frame: `height * width * 3` bytes, rows top-down, R G B. The bytes are copied before it resolves. */
  write(rgb: Uint8Array): Promise<void>;
  /** Lets others see the frames so far in a fragmented file; other files show nothing before `finish`. */
  show(): Promise<void>;
  /** Completes the file and moves it to its name, replacing an older one. Throws when no frame was written. */
  finish(): Promise<void>;
  /** Stops and removes what was written; an older file stays that has not been replaced. Harmless after `finish`. */
  abort(): Promise<void>;
}

/**
 * Starts a video at `file`. Frames go to a hidden file beside it (`.name.partial-...`), which takes the name of `file`
 * at `finish`; any failure removes it. Memory holds a few frames, never the clip (GIF: a palette per frame). A fragmented
 * file takes its name at the first `show`; "-" is a fragmented MP4 on standard output.
 * @throws ConfigError for an unknown extension, impossible sizes, or a folder that is missing or not writable; Error with
 *   a remedy when writing fails, as on a full disk
 */
export async function createVideoWriter(file: string, options: VideoWriterOptions): Promise<VideoWriter> {
  const isStdout = file === STDOUT;
  const format = options.format ?? (isStdout ? "mp4" : formatOf(file));
  const target = path.resolve(file);
  checkOptions(options);
  if ((options.fragmented || isStdout) && format !== "mp4")
    throw new ConfigError(`a video is written in fragments as MP4 only, got .${format} for "${file}"`);
  if (!isStdout) await checkTarget(target, format);
  const opening = isStdout ? openStdout(fragmentsOf(options)) : openSink(target, format, options);
  const sink = await opening.catch((error) => {
    throw systemFailure("create", file, error);
  });
  return videoWriter(file, sink, options.width * options.height * 3);
}

/** Without another, H.264 crf 17. */
const QUALITY = 80;

function checkOptions({ width, height, quality = QUALITY, metadata = {} }: VideoWriterOptions): void {
  for (const [name, value] of Object.entries({ width, height }))
    if (!Number.isInteger(value) || value < 1 || value > 16384)
      throw new ConfigError(`${name} must be a whole number from 1 to 16384, got ${value}`);
  if (!(quality >= 0 && quality <= 100))
    throw new ConfigError(`quality must be a number from 0 to 100, got ${quality}`);
  const wrongTag = Object.keys(metadata).find((name) => !/^[\x20-\x7e]{1,79}$/.test(name));
  if (wrongTag !== undefined)
    throw new ConfigError(
      `a metadata tag is named by 1 to 79 ASCII characters (title, artist), got "${wrongTag}"`,
    );
}

async function checkTarget(target: string, format: VideoFormat): Promise<void> {
  const folder = path.dirname(target);
  const found = await stat(folder).catch(() => null);
  if (!found?.isDirectory())
    throw new ConfigError(
      `the folder "${folder}" for "${path.basename(target)}" does not exist; create it or choose another`,
    );
  await access(folder, constants.W_OK).catch((cause) => {
    throw new ConfigError(
      `the folder "${folder}" is not writable; change its permissions or choose another`,
      {
        cause,
      },
    );
  });
  if (format !== "png" && (await stat(target).catch(() => null))?.isDirectory())
    throw new ConfigError(`"${target}" is a folder; give the name of a .${format} file`);
}

async function openSink(
  target: string,
  format: VideoFormat,
  options: VideoWriterOptions,
): Promise<VideoSink> {
  const draft = draftOf(target, format === "png" ? "" : `.${format}`);
  const { width, height } = options;
  if (format === "png") return openPngFolder(target, draft, { width, height, tags: fileTags(options) });
  try {
    if (options.fragmented) return await openFragmentedFile(target, draft, fragmentsOf(options));
    return await openWholeFile(target, draft, format, options);
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
}

async function openWholeFile(
  target: string,
  draft: string,
  format: Exclude<VideoFormat, "png">,
  options: VideoWriterOptions,
): Promise<VideoSink> {
  const tags = fileTags(options);
  const { width, height, quality = QUALITY } = options;
  const coding = { width, height, fps: frameRate(options.fps), tags, name: target };
  const encoder = await openEncoder(draft, recordingOf(format, quality), coding);
  return {
    ...encoder,
    async publish() {
      await embed(draft, format, tags.comment, options);
      await rename(draft, target);
    },
    discard: () => rm(draft, { force: true }),
  };
}

/** What an encoder in fragments needs to know. */
function fragmentsOf(options: VideoWriterOptions) {
  const { width, height, quality = QUALITY, digitalSourceType } = options;
  const coding = { width, height, fps: frameRate(options.fps), tags: fileTags(options) };
  return { ...coding, quality, digitalSourceType };
}

function fileTags({ metadata, recipe, digitalSourceType }: VideoWriterOptions): Record<string, string> {
  const source: Record<string, string> =
    digitalSourceType === undefined ? {} : { [SOURCE_TAG]: digitalSourceType };
  if (recipe === undefined) return { ...metadata, ...source };
  try {
    return { ...metadata, ...source, comment: JSON.stringify(recipe) };
  } catch (cause) {
    throw new ConfigError(`the recipe cannot be written as JSON: ${(cause as Error).message}`, { cause });
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
      throw new Error(`"${file}" is ${state}; no frame can be added and it cannot be finished`);
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
            throw new ConfigError(`a frame of "${file}" has ${frameBytes} bytes, got ${rgb.length}`);
          await sink.write(rgb);
          numFrames++;
        }),
      ),
    show: () => inTurn(() => orAbandon(async () => sink.show?.())),
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
