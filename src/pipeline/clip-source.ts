/** @file Pictures and clips from outside, at the size of the clip to make, as the VAE takes them. */
import { ConfigError } from "../errors.ts";
import { type Fit, fitImage, fits } from "../media/fit.ts";
import { type PixelSize, type RgbImage, rgbToSigned } from "../media/frames.ts";
import { type ClipSource, type PictureSource, readClip, readPicture } from "../media/pictures.ts";
import type { TransformerConfig } from "../models/transformer/config.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import { type ClipRequest, frameSize, sourceFrames } from "./clip-size.ts";
import type { PipelineEvent } from "./events.ts";
import { namesExactFrames, readExactFrames } from "./exact-frames.ts";

/** Pixels `[T, 3, H, W]` in [-1, 1], and how they came about. */
export type SourceClip = {
  readonly pixels: HostTensor;
  readonly event: Extract<PipelineEvent, { kind: "source" }>;
};

/** What a caller may say about pictures of another shape than the clip; "crop" unless given. */
export type FitOptions = { readonly fit?: Fit };

/**
 * One picture at the size of a clip.
 * @param what its name in events, such as "image"
 * @throws ConfigError for what is missing, damaged or no picture
 */
export async function sourceImage(
  what: string,
  source: PictureSource,
  size: PixelSize,
  fit: Fit = "crop",
): Promise<SourceClip> {
  requireFit(fit);
  if (namesExactFrames(source)) return asItIs(what, await readExactFrames(source, size, () => 1));
  const picture = await readPicture(source);
  return gathered([fitImage(picture, size, fit)], describe(what, picture, size, fit));
}

/**
 * The first frames of a clip, at the size that is asked for or the checkpoint's own, and as many of them as the model
 * takes; see `sourceFrames`.
 * @param what its name in events and messages, such as "control video"
 * @throws ConfigError for what is missing or damaged, an impossible size, and too few frames
 */
export async function sourceVideo(
  what: string,
  source: ClipSource,
  config: TransformerConfig,
  request: ClipRequest & FitOptions,
): Promise<SourceClip> {
  const { frames: requested, fit = "crop" } = request;
  const size = frameSize(config, request);
  const atMost = requested ?? config.sampleFrames;
  requireFit(fit);
  const counted = (available: number) => sourceFrames(config, available, requested);
  if (namesExactFrames(source)) return asItIs(what, await readExactFrames(source, size, counted));
  let first: RgbImage | null = null;
  const frames: RgbImage[] = [];
  for await (const frame of readClip(source)) {
    first ??= frame;
    frames.push(fitImage(frame, size, fit)); // at once: the frames of a camera are many times larger
    if (frames.length === atMost) break;
  }
  if (first === null) throw new ConfigError(`the ${what} has no frames; give at least one`);
  return gathered(frames.slice(0, counted(frames.length)), describe(what, first, size, fit));
}

function requireFit(fit: Fit): void {
  if (!fits.includes(fit)) throw new ConfigError(`fit must be one of ${fits.join(", ")}, got ${fit}`);
}

function asItIs(what: string, pixels: HostTensor): SourceClip {
  const [frames, , height, width] = pixels.shape;
  return { pixels, event: { kind: "source", what, width, height, frames, fit: null } };
}

function describe(what: string, { width, height }: RgbImage, size: PixelSize, fit: Fit): SourceClip["event"] {
  const isSame = width === size.width && height === size.height;
  return { kind: "source", what, width, height, frames: 1, fit: isSame ? null : fit };
}

function gathered(images: readonly RgbImage[], event: SourceClip["event"]): SourceClip {
  const [{ width, height }] = images;
  const data = new Float32Array(images.length * 3 * height * width);
  for (const [t, { rgb, ...size }] of images.entries()) data.set(rgbToSigned(rgb, size), t * rgb.length);
  const pixels: HostTensor = { dtype: "f32", shape: [images.length, 3, height, width], data };
  return { pixels, event: { ...event, frames: images.length } };
}
