/** @file Masks for inpainting: which frames and which areas of a clip are to be generated. */
import type { TorchRng } from "../../diffusion/noise.ts";
import { drawUniform, rngFor } from "./random.ts";

/** Size of a clip in pixel frames and pixels. */
export type ClipSize = { readonly frames: number; readonly height: number; readonly width: number };

/** What a mask covers. */
export const maskKinds = [
  "everything",
  "all but the first frames",
  "all but both ends",
  "box in all frames",
  "box in some frames",
  "boxes frame by frame",
  "random pixels",
  "ellipse in the first frame",
  "circle in all frames",
  "random frames",
] as const;
/** One of `maskKinds`. */
export type MaskKind = (typeof maskKinds)[number];

/** How often kinds are drawn beside one another; kinds that are left out never. */
export type MaskShares = Readonly<Partial<Record<MaskKind, number>>>;

/** 1 where a pixel is to be generated and 0 where it is given, `[frames, height, width]`. */
export type Mask = ClipSize & { readonly kind: MaskKind; readonly data: Uint8Array };

/** How often each kind is drawn for clips and for images, as CogVideoX-Fun trains. */
const clipShares: MaskShares = {
  "box in all frames": 0.05,
  everything: 0.2,
  "all but the first frames": 0.2,
  "all but both ends": 0.2,
  "box in some frames": 0.05,
  "random pixels": 0.05,
  "boxes frame by frame": 0.05,
  "ellipse in the first frame": 0.1,
  "circle in all frames": 0.05,
  "random frames": 0.05,
};

const imageShares: MaskShares = {
  "box in all frames": 0.2,
  everything: 0.7,
  "random pixels": 0.05,
  "circle in all frames": 0.05,
};

/**
 * The mask of a sample of a step; images are clips of one frame. `sample` counts over all ranks.
 * @param shares of clips' masks
 */
export function drawMask(
  { seed, step, sample }: { readonly seed: number; readonly step: number; readonly sample: number },
  size: ClipSize,
  shares: MaskShares = clipShares,
): Mask {
  const rng = rngFor(seed, "mask", step, sample);
  return maskOf(drawKind(size.frames === 1 ? imageShares : shares, rng), size, rng);
}

/**
 * Whether a sample whose mask is "everything" trains without any conditioning, as a text-to-video model (90 % of them),
 * instead of seeing that everything is masked.
 */
export function dropsCondition(
  { kind }: Mask,
  place: { seed: number; step: number; sample: number },
): boolean {
  const { seed, step, sample } = place;
  return kind === "everything" && drawUniform(rngFor(seed, "mask dropout", step, sample)) < 0.9;
}

function drawKind(shares: MaskShares, rng: TorchRng): MaskKind {
  // Record keys lose their type in `Object.entries`.
  const known = Object.entries(shares) as [MaskKind, number][];
  let left = drawUniform(rng) * known.reduce((sum, [, share]) => sum + share, 0);
  for (const [kind, share] of known) {
    if (left < share) return kind;
    left -= share;
  }
  return known[0][0];
}

/** A pixel of a clip: is it to be generated? */
type Covers = (frame: number, y: number, x: number) => boolean;

/** A mask of the given kind with its places and extents drawn from `rng`. */
export function maskOf(kind: MaskKind, size: ClipSize, rng: TorchRng): Mask {
  const covers = shapes[kind](size, rng);
  const { frames, height, width } = size;
  const data = new Uint8Array(frames * height * width);
  let at = 0;
  for (let frame = 0; frame < frames; frame++)
    for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) data[at++] = covers(frame, y, x) ? 1 : 0;
  return { kind, frames, height, width, data };
}

const shapes: Readonly<Record<MaskKind, (size: ClipSize, rng: TorchRng) => Covers>> = {
  everything: () => () => true,
  "all but the first frames": ({ frames }, rng) => {
    const given = endFrames(frames, rng);
    return (frame) => frame >= given;
  },
  "all but both ends": ({ frames }, rng) => {
    const [first, last] = [endFrames(frames, rng), endFrames(frames, rng)];
    return (frame) => frame >= first && frame < Math.max(frames - last, first + 1);
  },
  "box in all frames": (size, rng) => box(size, rng),
  "box in some frames": (size, rng) => {
    const inside = box(size, rng);
    const [from, to] = range(size.frames, 0.25, 1, rng);
    return (frame, y, x) => frame >= from && frame < to && inside(frame, y, x);
  },
  "boxes frame by frame": (size, rng) => {
    const boxes = Array.from({ length: size.frames }, () => (drawUniform(rng) < 0.5 ? box(size, rng) : null));
    return (frame, y, x) => boxes[frame]?.(frame, y, x) ?? false;
  },
  "random pixels": (_, rng) => {
    const density = drawUniform(rng);
    return () => drawUniform(rng) < density;
  },
  "ellipse in the first frame": (size, rng) => {
    const inside = ellipse(size, rng, drawUniform(rng) + 0.5);
    return (frame, y, x) => frame === 0 && inside(frame, y, x);
  },
  "circle in all frames": (size, rng) => ellipse(size, rng, 1),
  "random frames": ({ frames }, rng) => {
    const chosen = Array.from({ length: frames }, () => drawUniform(rng) < 0.5);
    return (frame) => chosen[frame];
  },
};

/** How many frames at an end are given: 1 to 4, and never all. */
function endFrames(frames: number, rng: TorchRng): number {
  return Math.min(1 + Math.floor(drawUniform(rng) * 4), frames - 1);
}

/** A box of a quarter to all of each side, anywhere. */
function box({ height, width }: ClipSize, rng: TorchRng): Covers {
  const [top, bottom] = range(height, 0.25, 1, rng);
  const [left, right] = range(width, 0.25, 1, rng);
  return (_, y, x) => y >= top && y < bottom && x >= left && x < right;
}

function ellipse({ height, width }: ClipSize, rng: TorchRng, ratio: number): Covers {
  const [centreY, centreX] = [drawUniform(rng) * height, drawUniform(rng) * width];
  const radius = (0.125 + 0.375 * drawUniform(rng)) * Math.min(height, width);
  return (_, y, x) =>
    ((y + 0.5 - centreY) / (radius * ratio)) ** 2 + ((x + 0.5 - centreX) / radius) ** 2 <= 1;
}

/** A range of `least` to `most` of a length, at least one long, anywhere in it. */
function range(length: number, least: number, most: number, rng: TorchRng): [from: number, to: number] {
  const extent = Math.max(1, Math.round(length * (least + (most - least) * drawUniform(rng))));
  const from = Math.floor(drawUniform(rng) * (length - extent + 1));
  return [from, from + extent];
}
