/** @file Takes clips from video files: planned by timestamps, decoded once, cut to size as the frames come. */
// F frames, H and W height and width in pixels
import { ConfigError } from "../../errors.ts";
import type { PixelSize } from "../../media/frames.ts";
import { decodedTimestamps, probeVideo, readTimestamps, readVideo } from "../../media/read.ts";
import { type Crop, type CropPlan, cropFrame, planCrop } from "./crop.ts";
import { type Draw, framesAt, type Sampling, type SamplingOptions, sampleFrames } from "./sampling.ts";
import type { ClipSource } from "./source.ts";

/** The clip wanted from a video. */
export type ClipRequest = SamplingOptions & PixelSize & { readonly crop?: Crop };

/** Everything that decides the pixels of a clip, but for the video. */
export type ClipPlan = {
  readonly request: ClipRequest;
  readonly draw: Draw | undefined;
  readonly sampling: Sampling;
  readonly crop: CropPlan;
  /** When the frames of the video are shown. */
  readonly timestamps: Float64Array;
};

/** A decoded clip. */
export type Clip = {
  /** As planned, or as the frames that were really there made it. */
  readonly plan: ClipPlan;
  /** `[F, H, W, 3]` */
  readonly rgb: Uint8Array;
  readonly frames: number;
  readonly height: number;
  readonly width: number;
  /** `[F]`, 1 for frames of the video, 0 for padding. */
  readonly valid: Uint8Array;
};

/** Size and length of a video, for choosing its bucket. */
export type ClipShape = PixelSize & {
  /** Frames that it has at the wanted rate. */
  readonly frames: number;
};

/** Size and length of a clip's video without decoding it. Throws ConfigError for what is no video. */
export async function inspectClip({ file }: Pick<ClipSource, "file">, fps: number): Promise<ClipShape> {
  const { width, height } = await probeVideo(file);
  return { width, height, frames: framesAt(await readTimestamps(file), fps) };
}

/**
 * Plans a clip without decoding: which frames, which part of them.
 * @param draw for random windows and crops
 * @throws ConfigError for what is no video, and options that are out of range
 */
export async function planClip(
  { file }: Pick<ClipSource, "file">,
  request: ClipRequest,
  draw?: Draw,
): Promise<ClipPlan> {
  const timestamps = await readTimestamps(file);
  return planFor(await probeVideo(file), timestamps, request, draw);
}

/**
 * Decodes a planned clip up to its last frame. Where the video shows other frames than its packets promise, as one does
 * that was cut between key frames, the clip is planned anew from what it shows.
 * @throws ConfigError for damaged videos
 */
export async function readClip({ file }: Pick<ClipSource, "file">, plan: ClipPlan): Promise<Clip> {
  const clip = await decodeClip(file, plan);
  if (clip !== null) return clip;
  const again = planFor(await probeVideo(file), await decodedTimestamps(file), plan.request, plan.draw);
  const found = await decodeClip(file, again);
  if (found === null)
    throw new ConfigError(`cannot read "${file}": its frames have no steady order in time; encode it anew`);
  return found;
}

function planFor(
  size: PixelSize,
  timestamps: Float64Array,
  request: ClipRequest,
  draw: Draw | undefined,
): ClipPlan {
  const sampling = sampleFrames(timestamps, request, draw);
  return {
    request,
    draw,
    sampling,
    crop: planCrop(size, request, request.crop ?? "centre", draw),
    timestamps,
  };
}

/** Null where a frame is shown at another time than planned, or missing. */
async function decodeClip(file: string, plan: ClipPlan): Promise<Clip | null> {
  const { sampling, crop, timestamps } = plan;
  const { indices, valid } = sampling;
  const { width, height } = crop;
  const frameBytes = width * height * 3;
  const rgb = new Uint8Array(indices.length * frameBytes);
  let [at, k] = [0, 0];
  for await (const frame of readVideo(file)) {
    if (!(Math.abs(frame.timestampSeconds - timestamps[at]) < SAME_TIME)) return null;
    if (indices[k] === at) {
      const cut = cropFrame(frame, crop);
      for (; indices[k] === at; k++) rgb.set(cut, k * frameBytes);
    }
    if (k === indices.length) return { plan, rgb, frames: k, height, width, valid };
    at++;
  }
  return null;
}

/** Seconds; both times come from the same integers. */
const SAME_TIME = 1e-6;
