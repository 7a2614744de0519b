/** @file Which of several sizes of clips a video is cut to. */
import type { ClipShape } from "./clip.ts";

/**
 * The size for a video, by the rule of finetrainers: the most frames that the video has, then the nearest aspect ratio
 * (width by height), then the larger picture. A video with fewer frames than all sizes takes the shortest.
 */
export function bucketFor(shape: ClipShape, [first, ...others]: readonly ClipShape[]): ClipShape {
  const ratio = shape.width / shape.height;
  const distance = ({ width, height }: ClipShape) => Math.abs(width / height - ratio);
  const area = ({ width, height }: ClipShape) => width * height;
  const missing = ({ frames }: ClipShape) => Math.max(0, frames - shape.frames);
  const order = (a: ClipShape, b: ClipShape) =>
    missing(a) - missing(b) || b.frames - a.frames || distance(a) - distance(b) || area(b) - area(a);
  return others.reduce((best, size) => (order(size, best) < 0 ? size : best), first);
}
