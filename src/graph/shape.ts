/** @file Arithmetic on shapes: sizes, axes, broadcasting, reshaping. Everything here throws ShapeError. */
import { ShapeError } from "../errors.ts";

export type Shape = readonly number[];

/** Number of elements; 1 for a scalar. */
export function sizeOf(shape: Shape): number {
  return shape.reduce((n, d) => n * d, 1);
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((d, i) => d === b[i]);
}

export function showShape(shape: Shape): string {
  return `[${shape.join(", ")}]`;
}

/** Turns a negative axis into a positive one. */
export function axisOf(axis: number, rank: number): number {
  const positive = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(axis) || positive < 0 || positive >= rank)
    throw new ShapeError(`axis ${axis} is outside a tensor of rank ${rank}`);
  return positive;
}

/** The shape two operands take together under numpy's rule. */
export function broadcast(a: Shape, b: Shape): Shape {
  const rank = Math.max(a.length, b.length);
  const out: number[] = [];
  for (let i = 0; i < rank; i++) {
    const da = a[a.length - rank + i] ?? 1;
    const db = b[b.length - rank + i] ?? 1;
    if (da !== db && da !== 1 && db !== 1)
      throw new ShapeError(`cannot broadcast ${showShape(a)} with ${showShape(b)}`);
    out.push(da === 1 ? db : da);
  }
  return out;
}

/** Fills in one -1 of a target shape and checks that the element counts agree. */
export function reshapeTo(from: Shape, to: Shape): Shape {
  const known = to.reduce((n, d) => (d === -1 ? n : n * d), 1);
  const holes = to.filter((d) => d === -1).length;
  const total = sizeOf(from);
  const fits = holes === 0 ? known === total : holes === 1 && known > 0 && total % known === 0;
  if (!fits || to.some((d) => d < -1 || !Number.isInteger(d)))
    throw new ShapeError(
      `cannot reshape ${showShape(from)} (${total} elements) to ${showShape(to)}; the products must agree`,
    );
  return to.map((d) => (d === -1 ? total / known : d));
}

/** Length of `range(start, end, step)` on an axis of `size`, with Python's clipping of negative and large ends. */
export function sliceLength(start: number, end: number, step: number, size: number): number {
  const clip = (i: number) => Math.min(Math.max(i < 0 ? i + size : i, 0), size);
  if (!Number.isInteger(step) || step < 1)
    throw new ShapeError(`slice steps must be at least 1, got ${step}`);
  return Math.max(0, Math.ceil((clip(end) - clip(start)) / step));
}

/** Output length of a convolution or pooling window along one axis. */
export function windowLength(
  size: number,
  {
    kernel,
    stride,
    before,
    after,
    dilation,
  }: Record<"kernel" | "stride" | "before" | "after" | "dilation", number>,
): number {
  const span = dilation * (kernel - 1) + 1;
  const length = Math.floor((size + before + after - span) / stride) + 1;
  if (length < 1)
    throw new ShapeError(
      `a window of ${span} does not fit an axis of ${size} padded by ${before} and ${after}`,
    );
  return length;
}
