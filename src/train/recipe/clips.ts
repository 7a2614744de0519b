/** @file Clips to train on: a list that any clip can be asked from by its number, and the order a training takes. */
import { captionOf } from "../../data/shapes/caption.ts";
import { renderScene } from "../../data/shapes/render.ts";
import type { Split } from "../../data/shapes/scene.ts";
import { sceneList } from "../../data/shapes/scene-list.ts";
import { type PixelSize, rgbToSigned } from "../../media/frames.ts";
import type { Content } from "../cache/cache.ts";
import { digestOfFacts } from "../cache/key.ts";
import { drawUniform, rngFor } from "../diffusion/random.ts";
import type { ClipSize } from "./clip-size.ts";
import type { DataRecipe } from "./schema.ts";

/** A list of clips with captions. Clip and caption depend on their index and on nothing else. */
export type ClipSource = {
  readonly count: number;
  /**
   * Pixels `[T, 3, H, W]` in [-1, 1] of a clip at its full length.
   * @param fps shows the same seconds at another rate, in as many frames as `framesAt` says
   */
  readonly pixels: (index: number, size: PixelSize, fps?: number) => Float32Array | Promise<Float32Array>;
  /** Pixels `[1, 3, H, W]` of its first frame. */
  readonly firstFrame: (index: number, size: PixelSize) => Float32Array | Promise<Float32Array>;
  /** T */
  readonly frames: number;
  readonly fps: number;
  readonly caption: (index: number) => string;
  /** Size and length of the video that a clip is taken from, where videos have their own. */
  readonly shape?: (index: number) => Promise<ClipSize>;
  /** What the pixels of a clip depend on, besides size, length and `taken`. */
  readonly content: (index: number) => Content;
  /** How clips are taken from files that may be longer or of another rate. */
  readonly taken?: Readonly<Record<string, string | number>>;
  /** A digest of what the recipe does not say: which files and captions there are. */
  readonly identity?: string;
};

/** Frames that the seconds from a clip's first frame to its last one have at another rate. */
export function framesAt(clip: Pick<ClipSource, "frames" | "fps">, fps: number): number {
  return Math.floor(((clip.frames - 1) * fps) / clip.fps + 1e-6) + 1;
}

/** The clips of shapes that a recipe describes: of compositions to train on, or of held-out ones alone. */
export function shapesClips(
  data: Extract<DataRecipe, { kind: "shapes" }>,
  split: Exclude<Split, "all"> = "train",
): ClipSource {
  const { seed, frames, fps, twoObjects, camera, patterned, grid, sizes, tones, motions } = data;
  const draw = { twoObjects, camera, patterned, grid, motions };
  const at = sceneList({ seed, split, sizes, tones, ...draw });
  // Left out where it is "train", so that caches of old runs are met.
  const facts = { seed, ...draw, split: split === "train" ? undefined : split };
  const rendered = (index: number, size: PixelSize, frames: number) =>
    rgbToSigned(renderScene(at(index).scene, { ...size, frames }), size);
  return {
    count: data.clips,
    frames,
    fps,
    pixels: (index, size, rate = fps) => rendered(index, size, framesAt(data, rate)),
    firstFrame: (index, size) => rendered(index, size, 1),
    content: (index) => ({ digest: digestOfFacts({ ...facts, index: at(index).drawn }) }),
    caption: (index) => {
      const { scene, drawn } = at(index);
      return captionOf(scene, { seed, index: drawn, length: captionLength(data.captions, drawn) });
    },
  };
}

function captionLength(captions: "short" | "long" | "mixed", index: number): "short" | "long" {
  return captions === "mixed" ? (index % 4 === 3 ? "long" : "short") : captions;
}

/** `count` frames from frame `first` on. */
export function framesOf(
  pixels: Float32Array,
  { width, height }: PixelSize,
  first: number,
  count: number,
): Float32Array {
  const frame = 3 * height * width;
  return pixels.slice(first * frame, (first + count) * frame);
}

/** Part of a picture: its first row and column. */
export type Corner = { readonly row: number; readonly column: number };

/** A square window of `side` pixels of all frames of pixels `[T, 3, H, W]`. */
export function windowOf(
  pixels: Float32Array,
  { width, height }: PixelSize,
  { row, column }: Corner,
  side: number,
): Float32Array {
  const planes = pixels.length / (height * width);
  const out = new Float32Array(planes * side * side);
  for (let line = 0; line < planes * side; line++) {
    const [plane, y] = [Math.floor(line / side), line % side];
    const start = (plane * height + row + y) * width + column;
    out.set(pixels.subarray(start, start + side), line * side);
  }
  return out;
}

/** How much a clip differs from pixel to pixel, so that windows with something in them can be told from empty ones. */
export function detailOf(pixels: Float32Array): number {
  let sum = 0;
  for (let i = 1; i < pixels.length; i++) sum += Math.abs(pixels[i] - pixels[i - 1]);
  return sum / pixels.length;
}

/**
 * The index of the clip that comes at `position` of an endless training: every clip once in each epoch, each epoch in an
 * order of its own.
 */
export function clipOrder(seed: number, count: number): (position: number) => number {
  const known = new Map<number, Int32Array>();
  return (position) => {
    const epoch = Math.floor(position / count);
    const order = known.get(epoch) ?? shuffled(seed, count, epoch);
    if (!known.has(epoch) && known.size > 1) known.delete([...known.keys()][0]);
    known.set(epoch, order);
    return order[position % count];
  };
}

/** Fisher and Yates. */
function shuffled(seed: number, count: number, epoch: number): Int32Array {
  const rng = rngFor(seed, "clip order", epoch);
  const order = Int32Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(drawUniform(rng) * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}
