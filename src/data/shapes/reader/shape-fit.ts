/** @file Tells the shape of an object by drawing each shape over it at its measured place, area and angle. */
import { coverage } from "../background.ts";
import type { ShapesClip } from "../render.ts";
import { REACH } from "../scene.ts";
import { signedDistances } from "../signed-distance.ts";
import { type Shape, shapes } from "../vocabulary.ts";
import type { Blob } from "./segment.ts";
import { mean, type Track } from "./track.ts";

/** A shape with what was measured while it was held to be this one. */
export interface ShapeFit {
  readonly shape: Shape;
  /** Mean disagreement with the drawn shape, as a share of the area: 0 is perfect. */
  readonly error: number;
  /** For each blob of the track: radius in pixels, and angle in radians, continued from frame to frame. */
  readonly radii: readonly number[];
  readonly angles: readonly number[];
}

/** After how much of a turn a shape looks the same: a share of the full one; circles and rings always do. */
const symmetry: Readonly<Record<Shape, number>> = {
  circle: 0,
  square: 4,
  triangle: 3,
  star: 5,
  cross: 4,
  ring: 0,
};

/** What agrees less than this with every shape is none of them. */
const WORST = 0.42;

/** The shape that fits best over all frames, or null where none does. */
export function fitShape(track: Track, clip: ShapesClip): ShapeFit | null {
  const fits = shapes.map((shape) => fitAs(shape, track, clip)).sort((a, b) => a.error - b.error);
  return fits[0].error < WORST ? fits[0] : null;
}

function fitAs(shape: Shape, { blobs }: Track, { width, height }: ShapesClip): ShapeFit {
  const radii = blobs.map(({ area }) => Math.sqrt(area / templates[shape].area));
  const angles = continued(
    blobs.map((blob) => angleOf(blob, shape, width)),
    symmetry[shape],
  );
  // Large blobs show their shape better: errors are summed in pixels.
  const errors = blobs.map((blob, i) =>
    disagreement(blob, { shape, radius: radii[i], angle: angles[i] }, width, height),
  );
  return { shape, error: mean(errors) / mean(blobs.map(({ area }) => area)), radii, angles };
}

/**
 * The angle of an n-fold shape from the phase of its n-th angular moment, sum of coverage r^2 e^(i n phi), relative to
 * that of the upright shape.
 */
function angleOf(blob: Blob, shape: Shape, width: number): number {
  const order = symmetry[shape];
  if (order === 0) return 0;
  return (momentPhase(blob, order, width) - templates[shape].phase) / order;
}

function momentPhase({ pixels, coverage: covered, x, y }: Blob, order: number, width: number): number {
  let [real, imaginary] = [0, 0];
  pixels.forEach((at, i) => {
    const dx = (at % width) + 0.5 - x;
    const dy = Math.floor(at / width) + 0.5 - y;
    const weight = covered[i] * (dx * dx + dy * dy);
    const phi = order * Math.atan2(dy, dx);
    real += weight * Math.cos(phi);
    imaginary += weight * Math.sin(phi);
  });
  return Math.atan2(imaginary, real);
}

/** Angles known but for multiples of a turn's n-th part, as a path without jumps. */
function continued(angles: readonly number[], order: number): number[] {
  if (order === 0) return angles.map(() => 0);
  const period = (2 * Math.PI) / order;
  const path: number[] = [];
  for (const angle of angles) {
    const last = path.at(-1) ?? 0;
    path.push(angle - period * Math.round((angle - last) / period));
  }
  return path;
}

interface Placed {
  readonly shape: Shape;
  readonly radius: number;
  readonly angle: number;
}

/** Sum over the pixels around a blob of the difference between its coverage and the drawn shape's, in pixels. */
function disagreement(blob: Blob, placed: Placed, width: number, height: number): number {
  const { radius, angle } = placed;
  const distance = signedDistances[placed.shape];
  const [cos, sin] = [Math.cos(angle) / radius, Math.sin(angle) / radius];
  const reach = Math.ceil(radius * REACH) + 1;
  const [left, top] = [Math.floor(blob.x) - reach, Math.floor(blob.y) - reach];
  const side = 2 * reach + 1;
  const drawn = new Float32Array(side * side);
  let sum = 0;
  for (let row = Math.max(0, -top); row < Math.min(side, height - top); row++)
    for (let column = Math.max(0, -left); column < Math.min(side, width - left); column++) {
      const dx = left + column + 0.5 - blob.x;
      const dy = top + row + 0.5 - blob.y;
      const there = coverage(radius * distance(dx * cos + dy * sin, dy * cos - dx * sin));
      drawn[row * side + column] = there;
      sum += there;
    }
  // So far as if the blob covered nothing; its pixels are put right.
  blob.pixels.forEach((at, i) => {
    const [column, row] = [(at % width) - left, Math.floor(at / width) - top];
    const inside = column >= 0 && row >= 0 && column < side && row < side;
    const there = inside ? drawn[row * side + column] : 0;
    sum += Math.abs(blob.coverage[i] - there) - there;
  });
  return sum;
}

/** Area at radius 1, and the phase of the angular moment, of every upright shape, measured on a fine drawing. */
const templates = Object.fromEntries(shapes.map((shape) => [shape, measure(shape)])) as Readonly<
  Record<Shape, { readonly area: number; readonly phase: number }>
>;

function measure(shape: Shape): { area: number; phase: number } {
  const side = 96;
  const radius = side / 2 / REACH - 1;
  const pixels = Array.from({ length: side * side }, (_, at) => at);
  const covered = pixels.map((at) => {
    const x = ((at % side) + 0.5 - side / 2) / radius;
    const y = (Math.floor(at / side) + 0.5 - side / 2) / radius;
    return coverage(radius * signedDistances[shape](x, y));
  });
  const area = covered.reduce((sum, value) => sum + value, 0);
  const blob: Blob = { frame: 0, pixels, coverage: covered, area, x: side / 2, y: side / 2 };
  const order = symmetry[shape];
  return { area: area / radius ** 2, phase: order === 0 ? 0 : momentPhase(blob, order, side) };
}
