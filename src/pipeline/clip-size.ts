/** @file The size of a clip: defaults by checkpoint, legal sizes, and the latents that belong to it. */
import { ConfigError } from "../errors.ts";
import { type TransformerConfig, takesMask } from "../models/transformer/config.ts";
import { type LatentSize, leadingFrames } from "../models/transformer/grid.ts";

/** Pixels across one latent, in space. */
export const SPATIAL_RATIO = 8;

/** Width and height in pixels, and frames. */
export type ClipSize = { readonly width: number; readonly height: number; readonly frames: number };

/** What is asked for; whatever is missing takes the checkpoint's own value. */
export type ClipRequest = Partial<ClipSize>;

/** Width and height that CogVideoX 1.5 was made for; its configuration holds the size of a table instead. */
const SIZE_OF_1_5 = { width: 1360, height: 768 };

/**
 * The size of the clip to make. Width and height are multiples of 16, frames are 8k + 1.
 * @throws ConfigError naming the nearest legal values
 */
export function clipSize(config: TransformerConfig, request: ClipRequest = {}): ClipSize {
  const frames = request.frames ?? config.sampleFrames;
  const size = { ...frameSize(config, request), frames };
  requireStep("frames", frames, 2 * config.temporalRatio, 1);
  return size;
}

/**
 * The size of a clip to inpaint: as `clipSize`, but with temporal patches 4k + 1 frames. Those of 8k + 5 (CogVideoX-Fun
 * V1.5 was trained on 85) need no padding.
 * @throws ConfigError naming the nearest legal values
 */
export function inpaintSize(config: TransformerConfig, request: ClipRequest = {}): ClipSize {
  if (config.patchT === null) return clipSize(config, request);
  const frames = request.frames ?? config.sampleFrames;
  requireStep("frames", frames, config.temporalRatio, 1);
  return { ...frameSize(config, request), frames };
}

/** Width and height of the clip to make. @throws ConfigError naming the nearest legal values */
export function frameSize(config: TransformerConfig, request: ClipRequest = {}): Omit<ClipSize, "frames"> {
  const trained = trainedSize(config);
  const { width = trained.width, height = trained.height } = request;
  const unit = SPATIAL_RATIO * config.patch;
  requireStep("width", width, unit, 0);
  requireStep("height", height, unit, 0);
  return { width, height };
}

/**
 * How many of the frames of a clip from outside are used, so that their latents need no padding: 8k + 1, or 8k where
 * the model has temporal patches. Without `requested`, as many as there are up to the checkpoint's own length.
 * @throws ConfigError when there are too few, or `requested` is no such number
 */
export function sourceFrames(
  { sampleFrames, temporalRatio, patchT }: TransformerConfig,
  available: number,
  requested?: number,
): number {
  const [unit, offset] = patchT === null ? [2 * temporalRatio, 1] : [patchT * temporalRatio, 0];
  if (requested !== undefined) {
    requireStep("frames", requested, unit, offset);
    if (requested <= available) return requested;
    throw new ConfigError(
      `frames is ${requested}, but the video has ${available}; ask for at most that many`,
    );
  }
  const usable = Math.floor((Math.min(available, sampleFrames) - offset) / unit) * unit + offset;
  if (usable > 0) return usable;
  throw new ConfigError(`the video has ${available} frames, but this model needs at least ${unit}`);
}

/** Frames per second a checkpoint's clips play at: 8 for CogVideoX 1.0 and inpainting, 16 for 1.5. */
export function trainedFps(config: TransformerConfig): number {
  return config.patchT === null || takesMask(config) ? 8 : 16;
}

/** Latents of a clip. CogVideoX 1.5 pads with leading frames to whole temporal patches; they are dropped at decoding. */
export function latentSize(config: TransformerConfig, { width, height, frames }: ClipSize): LatentSize {
  return {
    frames: latentFrames(config, frames) + paddingFrames(config, { frames }),
    height: height / SPATIAL_RATIO,
    width: width / SPATIAL_RATIO,
  };
}

/** Latent frames that `latentSize` puts before those of the clip. */
export function paddingFrames(config: TransformerConfig, { frames }: Pick<ClipSize, "frames">): number {
  return leadingFrames(config, latentFrames(config, frames));
}

/** Latent frames of a clip without padding. */
export function latentFrames({ temporalRatio }: TransformerConfig, frames: number): number {
  return Math.floor((frames - 1) / temporalRatio) + 1;
}

function trainedSize({ sampleWidth, sampleHeight, patchT }: TransformerConfig): {
  width: number;
  height: number;
} {
  const isTable = patchT !== null && sampleWidth === 300 && sampleHeight === 300;
  return isTable ? SIZE_OF_1_5 : { width: sampleWidth * SPATIAL_RATIO, height: sampleHeight * SPATIAL_RATIO };
}

/** Requires `value` to be `step * k + offset` for a whole k, and more than zero. */
function requireStep(name: string, value: number, step: number, offset: number): void {
  const least = offset > 0 ? offset : step;
  if (Number.isInteger(value) && value >= least && (value - offset) % step === 0) return;
  const rule = offset > 0 ? `${step}k + ${offset}` : `a multiple of ${step}`;
  if (!Number.isFinite(value)) throw new ConfigError(`${name} must be ${rule}, got ${value}`);
  const below = Math.max(least, Math.floor((value - offset) / step) * step + offset);
  const above = below + step;
  const nearest = value < least ? `the least is ${least}` : `the nearest are ${below} and ${above}`;
  throw new ConfigError(`${name} must be ${rule}, got ${value}; ${nearest}`);
}
