/** @file Finds what is coloured in a frame: one map of coverage for every object colour, cut into connected blobs. */
import type { ShapesClip } from "../render.ts";
import { type Colour, colourNames, colours } from "../vocabulary.ts";

/** A connected patch of one colour in one frame. */
export interface Blob {
  readonly frame: number;
  /** Pixels of the patch (row * width + column), and how much of each the object covers, 0..1. */
  readonly pixels: readonly number[];
  readonly coverage: readonly number[];
  /** Sum of the coverage, in pixels. */
  readonly area: number;
  /** Centre of gravity in pixels, the middle of the first pixel being (0.5, 0.5). */
  readonly x: number;
  readonly y: number;
}

/** Difference of colours: red minus green, blue minus green. Light and shadow change grey ones hardly at all. */
type Chroma = readonly [number, number];

interface ColourAxis {
  readonly colour: Colour;
  /** From the chroma of the background to that of the colour. */
  readonly axis: Chroma;
  readonly length: number;
}

/** Coverage below this is taken for background: three times what noise of 6/255 makes of the weakest contrast. */
const FAINT = 0.25;
/** Patches smaller than this share of the scene's square are specks. */
const SPECK = 0.004;

/** The blobs of every colour in all frames of an RGB clip `[frames, height, width, 3]`. */
export function findBlobs(rgb: Uint8Array, clip: ShapesClip): ReadonlyMap<Colour, readonly Blob[]> {
  const { width, height, frames } = clip;
  const ground = medianChroma(rgb);
  const axes = colourNames.map((colour) => axisOf(colour, ground));
  const blobs = new Map<Colour, Blob[]>(colourNames.map((colour) => [colour, []]));
  const least = SPECK * Math.min(width, height) ** 2;
  for (let frame = 0; frame < frames; frame++) {
    const pixels = rgb.subarray(frame * width * height * 3, (frame + 1) * width * height * 3);
    const { labels, coverage } = labelPixels(pixels, ground, axes);
    for (const { label, members } of connected(labels, width)) {
      const blob = blobOf(frame, members, coverage, width);
      if (blob.area >= least) blobs.get(axes[label].colour)?.push(blob);
    }
  }
  return blobs;
}

/** The background's chroma: objects cover less than half of a clip. */
function medianChroma(rgb: Uint8Array): Chroma {
  const counts = [new Uint32Array(511), new Uint32Array(511)];
  for (let at = 0; at < rgb.length; at += 3) {
    counts[0][rgb[at] - rgb[at + 1] + 255]++;
    counts[1][rgb[at + 2] - rgb[at + 1] + 255]++;
  }
  const median = (histogram: Uint32Array) => {
    let rest = rgb.length / 6;
    return histogram.findIndex((count) => (rest -= count) <= 0) - 255;
  };
  return [median(counts[0]), median(counts[1])];
}

function axisOf(colour: Colour, ground: Chroma): ColourAxis {
  const [red, green, blue] = colours[colour];
  const axis = [red - green - ground[0], blue - green - ground[1]] as const;
  return { colour, axis, length: Math.hypot(...axis) };
}

interface Labelled {
  /** Index of the colour whose direction from the background is nearest, or -1. */
  readonly labels: Int8Array;
  readonly coverage: Float32Array;
}

function labelPixels(pixels: Uint8Array, ground: Chroma, axes: readonly ColourAxis[]): Labelled {
  const count = pixels.length / 3;
  const labels = new Int8Array(count).fill(-1);
  const coverage = new Float32Array(count);
  const faintest = (FAINT * Math.min(...axes.map(({ length }) => length))) ** 2;
  for (let i = 0; i < count; i++) {
    const a = pixels[3 * i] - pixels[3 * i + 1] - ground[0];
    const b = pixels[3 * i + 2] - pixels[3 * i + 1] - ground[1];
    if (a * a + b * b < faintest) continue;
    let best = 0;
    let label = -1;
    for (let each = 0; each < axes.length; each++) {
      const { axis, length } = axes[each];
      const along = (a * axis[0] + b * axis[1]) / length;
      if (along > best) [best, label] = [along, each];
    }
    if (label < 0) continue;
    const share = best / axes[label].length;
    if (share < FAINT) continue;
    labels[i] = label;
    coverage[i] = Math.min(share, 1);
  }
  return { labels, coverage };
}

/** Patches of equal labels that touch at an edge. */
function connected(labels: Int8Array, width: number): { label: number; members: number[] }[] {
  const patches: { label: number; members: number[] }[] = [];
  const seen = new Uint8Array(labels.length);
  for (let start = 0; start < labels.length; start++) {
    const label = labels[start];
    if (label < 0 || seen[start] === 1) continue;
    const members = [start];
    seen[start] = 1;
    // The list grows while it is walked.
    for (let i = 0; i < members.length; i++) {
      const at = members[i];
      const column = at % width;
      const visit = (next: number) => {
        if (labels[next] !== label || seen[next] === 1) return;
        seen[next] = 1;
        members.push(next);
      };
      if (column > 0) visit(at - 1);
      if (column < width - 1) visit(at + 1);
      visit(at - width);
      visit(at + width);
    }
    patches.push({ label, members });
  }
  return patches;
}

function blobOf(frame: number, pixels: readonly number[], coverages: Float32Array, width: number): Blob {
  const full = plateau(pixels, coverages);
  const coverage = pixels.map((at) => Math.min(1, coverages[at] / full));
  let [area, x, y] = [0, 0, 0];
  pixels.forEach((at, i) => {
    area += coverage[i];
    x += coverage[i] * ((at % width) + 0.5);
    y += coverage[i] * (Math.floor(at / width) + 0.5);
  });
  return { frame, pixels, coverage, area, x: x / area, y: y / area };
}

/** Objects that are paler than the palette are seen as whole ones, unless they are ghosts. */
const PALEST = 0.55;

function plateau(pixels: readonly number[], coverages: Float32Array): number {
  const sorted = Float32Array.from(pixels, (at) => coverages[at]).sort();
  return Math.max(PALEST, sorted[Math.floor(0.85 * sorted.length)]);
}
