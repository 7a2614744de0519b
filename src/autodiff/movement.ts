/** @file Derivatives of reductions and of the operators that only move values. */
import { ShapeError } from "../errors.ts";
import * as ops from "../graph/functions.ts";
import { axisOf, sizeOf } from "../graph/shape.ts";
import { constant, type Tensor } from "../graph/tensor.ts";
import { type Gradients, inverse, type Rules, toFront, unbroadcast, zerosLike } from "./rule.ts";

export const movement = {
  Sum: ({ g, x: [x], attrs }) => [g.reshape(keptShape(x, attrs.axes)).expand(x.shape)],
  Mean: ({ g, x: [x], y, attrs }) => [
    g
      .mul(sizeOf(y.shape) / sizeOf(x.shape))
      .reshape(keptShape(x, attrs.axes))
      .expand(x.shape),
  ],
  // Equal maxima share the gradient.
  Max: ({ g, x: [x], y, attrs: { axes } }) => {
    const kept = keptShape(x, axes);
    const hits = ops.equal(x, y.reshape(kept)).cast(x.dtype);
    return [hits.mul(g.reshape(kept).div(hits.sum(axes).reshape(kept)))];
  },
  Softmax: ({ g, y, attrs: { axis } }) => [y.mul(g.sub(g.mul(y).sum([axis], true)))],
  Reshape: ({ g, x: [x] }) => [g.reshape(x.shape)],
  Transpose: ({ g, attrs: { perm } }) => [g.transpose(inverse(perm))],
  Expand: ({ g, x: [x] }) => [unbroadcast(g, x.shape)],
  Slice: ({ g, x: [x], attrs: { axis, start, step } }) => {
    const at = axisOf(axis, x.shape.length);
    const size = x.shape[at];
    const first = Math.min(Math.max(start < 0 ? start + size : start, 0), size);
    const spread = step === 1 ? g : spreadOut(g, at, step).slice(at, 0, size - first);
    return [padAxis(spread, at, first, size - first - spread.shape[at])];
  },
  Concat: ({ g, x, needs, attrs: { axis } }) => {
    let end = 0;
    return x.map((part, i) => {
      const start = end;
      end += part.dim(axis);
      return needs[i] ? g.slice(axis, start, end) : null;
    });
  },
  Pad: ({ g, x: [x], attrs: { before, after, mode } }) => {
    const padded = x.shape.flatMap((_, axis) => (before[axis] !== 0 || after[axis] !== 0 ? [axis] : []));
    const unpad = (inner: Tensor, axis: number) => {
      const window = { size: x.shape[axis], before: before[axis], after: after[axis] };
      if (mode === "constant") return inner.slice(axis, window.before, window.before + window.size);
      const sources = mode === "edge" ? edgeSources(window) : mirroredSources(window);
      return gatherBack(inner, constant(sources, [sources.length], "i64"), axis, window.size);
    };
    return [padded.reduce(unpad, g)];
  },
  Gather: ({ g, x: [x, indices], attrs: { axis } }) => {
    const at = axisOf(axis, x.shape.length);
    return [gatherBack(g, indices, at, x.shape[at])];
  },
  ScatterAdd: ({ g, x: [, indices], needs }): Gradients => {
    const rows = indices.reshape(indices.shape.slice(0, -1));
    return [g, null, needs[2] ? ops.gather(g, rows, 0) : null];
  },
  After: ({ g }) => [g],
  // Every element collects the window it was repeated into.
  Upsample: ({ g, x: [x], attrs: { scales } }) => {
    const shape: number[] = [];
    const windows: number[] = [];
    x.shape.forEach((size, axis) => {
      shape.push(size);
      if (scales[axis] > 1) windows.push(shape.push(scales[axis]) - 1);
    });
    return [g.reshape(shape).sum(windows)];
  },
} satisfies Rules;

/** The shape of `x` with 1 in place of the reduced axes. */
function keptShape(x: Tensor, axes: readonly number[]): number[] {
  const reduced = axes.map((axis) => axisOf(axis, x.shape.length));
  return x.shape.map((d, i) => (reduced.includes(i) ? 1 : d));
}

/** Every element followed by `step` - 1 zeros along one axis. */
function spreadOut(g: Tensor, axis: number, step: number): Tensor {
  const shape = g.shape.toSpliced(axis + 1, 0, 1);
  const spread = padAxis(g.reshape(shape), axis + 1, 0, step - 1);
  return spread.reshape(g.shape.with(axis, g.shape[axis] * step));
}

function padAxis(x: Tensor, axis: number, before: number, after: number): Tensor {
  if (before === 0 && after === 0) return x;
  const none = x.shape.map(() => 0);
  return ops.pad(x, none.with(axis, before), none.with(axis, after));
}

/**
 * The gradient of a table of `size` rows along `axis`, from that of the rows picked by `indices`: every row adds up
 * what was made of it. The engine adds rows of the first axis only, so that others move there and back.
 */
function gatherBack(g: Tensor, indices: Tensor, axis: number, size: number): Tensor {
  const picked = indices.shape.length;
  const rank = g.shape.length;
  const front = Array.from({ length: picked }, (_, i) => axis + i);
  const others = Array.from({ length: rank }, (_, i) => i).filter((i) => !front.includes(i));
  const updates = axis === 0 ? g : g.transpose([...front, ...others]);
  const rest = updates.shape.slice(picked);
  const positions = indices.cast("i64").reshape([...indices.shape, 1]);
  const rows = ops.scatterAdd(zerosLike({ shape: [size, ...rest], dtype: g.dtype }), positions, updates);
  return axis === 0 ? rows : rows.transpose(inverse(toFront(axis, rest.length + 1)));
}

type Padding = { readonly size: number; readonly before: number; readonly after: number };

/** Which element each position of an axis padded with its edges holds. */
function edgeSources({ size, before, after }: Padding): BigInt64Array {
  const clamp = (i: number) => BigInt(Math.min(Math.max(i, 0), size - 1));
  return BigInt64Array.from({ length: before + size + after }, (_, i) => clamp(i - before));
}

/** The same for an axis padded by its mirror image. */
function mirroredSources({ size, before, after }: Padding): BigInt64Array {
  if (before >= size || after >= size)
    throw new ShapeError(
      `the derivative of a mirrored Pad needs margins below the axis' ${size} elements, got ${before} and ${after}`,
    );
  const mirror = (i: number) => BigInt(i < 0 ? -i : i >= size ? 2 * (size - 1) - i : i);
  return BigInt64Array.from({ length: before + size + after }, (_, i) => mirror(i - before));
}
