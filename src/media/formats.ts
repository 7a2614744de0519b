/** @file The file formats a video can be written in, and how each is made. */
import { ConfigError } from "../errors.ts";
import type { Recording } from "./encode.ts";

/** A format `createVideoWriter` can make; "png" is a folder of numbered frames. */
export type VideoFormat = "mp4" | "webm" | "mkv" | "gif" | "webp" | "png";

/**
 * The format of `file` by its name: its extension, or "png" for a path that ends in `/`, `-png` or `.png-dir`. Throws
 * ConfigError with the known names otherwise.
 */
export function formatOf(file: string): VideoFormat {
  if (/[/\\]$|-png$|\.png-dir$/i.test(file)) return "png";
  const extension = /\.([^./\\]+)$/.exec(file)?.[1].toLowerCase() ?? "";
  if (extension in recordings) return extension as VideoFormat;
  throw new ConfigError(
    `"${file}" has no known video extension; use ${Object.keys(recordings)
      .map((name) => `.${name}`)
      .join(", ")}, or a path ending in / (or -png) for a folder of PNG frames`,
  );
}

/** The recording of a format that FFmpeg makes; `quality` 0 (small) to 100 (best) sets crf or its like. */
export function recordingOf(format: Exclude<VideoFormat, "png">, quality: number): Recording {
  return recordings[format](quality);
}

/**
 * As the recording of an MP4, in fragments that end where the encoder's user says. The encoder gives every frame away
 * at once, which costs a larger file: looking ahead, it would keep all of a clip of ordinary length to itself.
 */
export function fragmentedMp4(quality: number): Recording {
  const plain = recordings.mp4(quality);
  return {
    ...plain,
    codecOptions: { ...plain.codecOptions, tune: "zerolatency" },
    containerOptions: { movflags: "+frag_custom+empty_moov+default_base_moof" },
  };
}

// Converts with the BT.709 matrix and then says so: untagged video is read as BT.601 or BT.709 by the player's whim.
const bt709 =
  "scale=in_range=pc:out_range=tv:out_color_matrix=bt709:flags=bicubic+accurate_rnd+full_chroma_int," +
  "format=yuv420p,setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv";

// A palette for each frame lets frames pass one by one; one palette for the whole clip would hold all of it in memory.
const framePalette =
  "split[a][b];[a]palettegen=stats_mode=single:reserve_transparent=0[p];" +
  "[b][p]paletteuse=new=1:dither=bayer:bayer_scale=4";

const recordings: Record<Exclude<VideoFormat, "png">, (quality: number) => Recording> = {
  mp4: (quality) => ({
    container: "mp4",
    codec: "libx264",
    filter: bt709,
    evenSize: true,
    colours: "bt709",
    codecOptions: {
      crf: String(33 - 0.2 * quality),
      preset: "medium",
      profile: "high",
      // Kernels for some processors, of what weighs macroblocks by their future, read beyond rows: the same frames gave other
      // bytes every time where the width was no multiple of 128 pixels.
      "x264-params": "cpu-independent=1",
    },
    containerOptions: { movflags: "+faststart" },
  }),
  webm: (quality) => ({
    container: "webm",
    codec: "libvpx-vp9",
    filter: bt709,
    evenSize: false,
    colours: "bt709",
    codecOptions: {
      crf: String(Math.round(56 - 0.4 * quality)),
      deadline: "good",
      "cpu-used": "4",
      "row-mt": "1",
    },
    // Without, tracks get random numbers.
    containerOptions: { fflags: "+bitexact" },
  }),
  mkv: () => ({
    container: "matroska",
    codec: "ffv1",
    filter: "format=bgr0",
    evenSize: false,
    colours: "rgb",
    codecOptions: { level: "3", slicecrc: "1" },
    containerOptions: {},
  }),
  gif: () => ({
    container: "gif",
    codec: "gif",
    filter: framePalette,
    evenSize: false,
    colours: "rgb",
    codecOptions: {},
    containerOptions: { loop: "0" },
  }),
  webp: (quality) => ({
    container: "webp",
    codec: "libwebp_anim",
    filter: "format=bgra",
    evenSize: false,
    colours: "rgb",
    codecOptions: { lossless: "0", quality: String(50 + 0.5 * quality) },
    containerOptions: { loop: "0" },
  }),
};
