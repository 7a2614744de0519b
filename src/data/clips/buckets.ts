/** @file Sizes of clips that a run trains on, and which of them a video is cut to. */
import { ConfigError } from "../../errors.ts";
import type { ClipShape } from "./clip.ts";
import { longest } from "./sampling.ts";

/** A size of clips: frames, and height and width in pixels (not in latents). */
export type Bucket = { readonly frames: number; readonly height: number; readonly width: number };

/**
 * What becomes of a video with fewer frames than every bucket: a bucket of its own with the most frames of the form
 * `lengthStep * k + 1`, the shortest bucket with padding by its last frame, or nothing.
 */
const shortClips = ["shorten", "pad", "drop"] as const;
/** One of `shortClips`. */
export type ShortClips = (typeof shortClips)[number];

/**
 * The bucket of a video, by the rule of finetrainers: the most frames that the video has, then the nearest aspect ratio
 * (width by height), then the larger picture. Null only for what is to be dropped.
 * @throws ConfigError for no buckets, or sides and lengths that are no whole numbers
 */
export function bucketFor(
  shape: ClipShape,
  buckets: readonly Bucket[],
  { short = "shorten", lengthStep = 8 }: { short?: ShortClips; lengthStep?: number } = {},
): Bucket | null {
  checkBuckets(buckets);
  const lengths = buckets.map(({ frames }) => frames);
  const fitting = lengths.filter((frames) => frames <= shape.frames);
  const isShort = fitting.length === 0;
  if (isShort && short === "drop") return null;
  const frames = isShort ? Math.min(...lengths) : Math.max(...fitting);
  const ratio = shape.width / shape.height;
  const distance = ({ width, height }: Bucket) => Math.abs(width / height - ratio);
  const area = ({ width, height }: Bucket) => width * height;
  const [nearest] = buckets
    .filter((bucket) => bucket.frames === frames)
    .sort((a, b) => distance(a) - distance(b) || area(b) - area(a));
  return isShort && short === "shorten" ? { ...nearest, frames: longest(shape.frames, lengthStep) } : nearest;
}

/** A name for a bucket: equal for equal buckets. */
export function bucketName({ frames, height, width }: Bucket): string {
  return `${frames}x${height}x${width}`;
}

function checkBuckets(buckets: readonly Bucket[]): void {
  if (buckets.length === 0) throw new ConfigError("give at least one bucket (frames, height, width)");
  for (const bucket of buckets)
    for (const side of [bucket.frames, bucket.height, bucket.width])
      if (!Number.isSafeInteger(side) || side < 1)
        throw new ConfigError(
          `a bucket must have frames, height and width of 1 or more, got ${bucketName(bucket)}`,
        );
}
