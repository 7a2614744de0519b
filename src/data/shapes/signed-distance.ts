/** @file How far a point is from the edge of each shape. */
import type { Shape } from "./vocabulary.ts";

/**
 * Signed distance from (x, y) to the edge of a shape of radius 1 around the origin, y downwards, upright; negative inside.
 * None reaches further than REACH of scene.ts. Exact outside of the corners, as the formulas of Quilez have it.
 */
export type SignedDistance = (x: number, y: number) => number;

const CIRCLE = 0.94;
const SQUARE = 0.76;
const CROSS = { length: 0.95, width: 0.33 } as const;
const RING = { radius: 0.69, width: 0.27 } as const;

export const signedDistances: Readonly<Record<Shape, SignedDistance>> = {
  circle: (x, y) => Math.sqrt(x * x + y * y) - CIRCLE,
  ring: (x, y) => Math.abs(Math.sqrt(x * x + y * y) - RING.radius) - RING.width,
  square: (x, y) => box(x, y, SQUARE, SQUARE),
  cross: (x, y) => Math.min(box(x, y, CROSS.length, CROSS.width), box(x, y, CROSS.width, CROSS.length)),
  triangle,
  star,
};

function box(x: number, y: number, width: number, height: number): number {
  const dx = Math.abs(x) - width;
  const dy = Math.abs(y) - height;
  if (dx <= 0 || dy <= 0) return Math.max(dx, dy);
  return Math.sqrt(dx * dx + dy * dy);
}

/** Half the side of an equilateral triangle whose corners lie at 1.08 from its centre of gravity. */
const TRIANGLE = 1.08 * Math.sin(Math.PI / 3);
const SLOPE = Math.sqrt(3);

function triangle(x: number, y: number): number {
  const ax = Math.abs(x) - TRIANGLE;
  const ay = -y + TRIANGLE / SLOPE;
  const folded = ax + SLOPE * ay > 0;
  let px = folded ? (ax - SLOPE * ay) / 2 : ax;
  const py = folded ? (-SLOPE * ax - ay) / 2 : ay;
  px -= Math.min(Math.max(px, -2 * TRIANGLE), 0);
  return -Math.sqrt(px * px + py * py) * Math.sign(py);
}

/** A star of five points at this distance; its inner corners lie at INNER. */
const STAR = 1.09;
const INNER = 0.5;
const FIFTH = Math.PI / 5;
const EDGE_X = INNER * Math.sin(FIFTH);
const EDGE_Y = INNER * Math.cos(FIFTH) - STAR;
const EDGE_SQUARED = EDGE_X * EDGE_X + EDGE_Y * EDGE_Y;
const [COS1, SIN1] = [Math.cos(FIFTH), Math.sin(FIFTH)];

/** Folds the plane at the five axes onto a tenth of the star, which has one edge. */
function star(x: number, y: number): number {
  let px = Math.abs(x);
  let py = -y;
  // Mirror at the axes between the points.
  const over = 2 * Math.max(px * COS1 - py * SIN1, 0);
  px -= over * COS1;
  py += over * SIN1;
  const across = 2 * Math.max(-px * COS1 - py * SIN1, 0);
  px += across * COS1;
  py += across * SIN1;
  px = Math.abs(px);
  py -= STAR;
  const along = Math.min(Math.max((px * EDGE_X + py * EDGE_Y) / EDGE_SQUARED, 0), 1);
  const dx = px - EDGE_X * along;
  const dy = py - EDGE_Y * along;
  const outside = EDGE_X * py - EDGE_Y * px;
  return Math.sqrt(dx * dx + dy * dy) * (outside < 0 ? -1 : 1);
}
