/** @file Brings frames to the size of a clip: scaled to cover it with their aspect ratio kept, then cut. */
import { ConfigError } from "../../errors.ts";
import type { PixelSize, RgbImage } from "../../media/frames.ts";
import { resizeLanczos, type Window } from "../../media/resize.ts";
import { randomSource } from "../shapes/random.ts";
import type { Draw } from "./sampling.ts";

/** Which part is kept of what sticks out. */
const crops = ["centre", "random"] as const;
/** One of `crops`. */
export type Crop = (typeof crops)[number];

/** One cut for all frames of a clip, in pixels. */
export type CropPlan = Window & {
  /** Size to which a frame is resampled; one side is the clip's, the other the clip's or longer. */
  readonly resized: PixelSize;
};

/** Tells the draws of crops from other draws with the same numbers. */
const CROP_DRAW = 0x63726f;

/**
 * Plans the cut for frames of one size. The aspect ratio stays but for the rounding to whole pixels.
 * @param draw for the crop "random"
 * @throws ConfigError for sizes that are no whole pixels, an unknown crop, or a random one without `draw`
 */
export function planCrop(source: PixelSize, { width, height }: PixelSize, crop: Crop, draw?: Draw): CropPlan {
  for (const side of [source.width, source.height, width, height])
    if (!Number.isSafeInteger(side) || side < 1)
      throw new ConfigError(
        `cannot bring ${source.width}x${source.height} to ${width}x${height}: sides must be whole pixels, 1 or more`,
      );
  if (!crops.includes(crop)) throw new ConfigError(`crop must be one of ${crops.join(", ")}, got ${crop}`);
  const scale = Math.max(width / source.width, height / source.height);
  const resized = {
    width: Math.max(width, Math.round(source.width * scale)),
    height: Math.max(height, Math.round(source.height * scale)),
  };
  const [across, down] = [resized.width - width, resized.height - height];
  if (crop === "centre")
    return { width, height, resized, left: Math.floor(across / 2), top: Math.floor(down / 2) };
  if (draw === undefined) throw new ConfigError("a random crop needs seed, epoch and index to draw from");
  const random = randomSource(CROP_DRAW, draw.seed, draw.epoch, draw.index);
  return { width, height, resized, left: random.int(across + 1), top: random.int(down + 1) };
}

/** The planned part of a frame: `height * width * 3` bytes. */
export function cropFrame(frame: RgbImage, plan: CropPlan): Uint8Array {
  return resizeLanczos(frame, plan.resized, plan).rgb;
}
