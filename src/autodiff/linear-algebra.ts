/** @file Derivatives of matrix products, convolutions and pools. */
import { ShapeError } from "../errors.ts";
import { concat, conv, convTranspose, gather, pad } from "../graph/functions.ts";
import type { Window } from "../graph/ops.ts";
import { type Shape, sizeOf } from "../graph/shape.ts";
import { constant, type Tensor } from "../graph/tensor.ts";
import { filled, type Gradients, type Rules, unbroadcast } from "./rule.ts";

export const linearAlgebra = {
  MatMul: ({ g, x: [a, b], needs, attrs: { transA, transB } }): Gradients => {
    const shared = b.shape.length === 2 && !transA; // one matrix for the whole batch: its rows are one long product
    const [left, up] = shared ? [rowsOf(a), rowsOf(g)] : [a, g];
    const forA = transA
      ? () => b.matmul(g, { transA: transB, transB: true })
      : () => g.matmul(b, { transB: !transB });
    const forB = transB
      ? () => up.matmul(left, { transA: true, transB: transA })
      : () => left.matmul(up, { transA: !transA });
    return [needs[0] ? unbroadcast(forA(), a.shape) : null, needs[1] ? unbroadcast(forB(), b.shape) : null];
  },
  Linear: ({ g, x: [x, weight], needs }): Gradients => {
    const rows = rowsOf(g);
    return [
      needs[0] ? rows.matmul(weight).reshape(x.shape) : null,
      needs[1] ? rows.matmul(rowsOf(x), { transA: true }) : null,
      needs[2] ? rows.sum([0]) : null,
    ];
  },
  Conv: ({ g, x: [x, weight], needs, attrs: { block, ...window } }): Gradients => {
    if (block !== 1)
      throw new ShapeError(
        `a convolution in blocks of ${block} channels has no derivative; build the model with block 1 to train it`,
      );
    return [
      needs[0] ? convInputGradient(g, weight, x.shape, window) : null,
      needs[1] ? convWeightGradient(g, x, weight.shape, window) : null,
      needs[2] ? g.sum(g.shape.flatMap((_, axis) => (axis === 1 ? [] : [axis]))) : null,
    ];
  },
  // The adjoint of a convolution: its input gradient is that convolution, its weight sees the roles exchanged.
  ConvTranspose: ({ g, x: [x, weight], needs, attrs: { outputPadding: _, ...window } }): Gradients => [
    needs[0] ? cropSpatial(conv(g, weight, undefined, window), x.shape.slice(2)) : null,
    needs[1] ? convWeightGradient(x, g, weight.shape, window) : null,
  ],
  // Every channel on its own, spread by a kernel that is constant.
  AveragePool: ({ g, x: [x], attrs: { kernel, strides } }) => {
    const none = kernel.map(() => 0);
    const window = { strides, before: none, after: none, dilations: kernel.map(() => 1), groups: 1 };
    const weight = filled(1 / sizeOf(kernel), [1, 1, ...kernel], g.dtype);
    const single = g.reshape([-1, 1, ...g.shape.slice(2)]);
    const shape = [single.dim(0), 1, ...x.shape.slice(2)];
    return [convInputGradient(single, weight, shape, window).reshape(x.shape)];
  },
} satisfies Rules;

/** All axes but the last as one. */
function rowsOf(x: Tensor): Tensor {
  return x.shape.length === 2 ? x : x.reshape([-1, x.dim(-1)]);
}

/**
 * The gradient of a convolution's input of `shape`; elements that no window reached get zeros. At stride 1 it is a
 * convolution with the kernel turned round, which the engine does several times faster than the transposed one.
 */
function convInputGradient(g: Tensor, weight: Tensor, shape: Shape, window: Window): Tensor {
  const { strides, before, dilations, groups } = window;
  const reach = dilations.map((dilation, i) => dilation * (weight.shape[i + 2] - 1));
  if (strides.every((stride) => stride === 1) && before.every((n, i) => n <= reach[i])) {
    const turned = { strides, dilations, groups, before: reach.map((n, i) => n - before[i]) };
    const after = reach.map((n, i) => shape[i + 2] - g.shape[i + 2] + before[i] - n + reach[i]);
    return conv(g, turnedRound(weight, groups), undefined, { ...turned, after });
  }
  const outputPadding = shape
    .slice(2)
    .map((size, i) => size - ((g.shape[i + 2] - 1) * strides[i] + reachOf(weight.shape, window, i)));
  return convTranspose(g, weight, { ...window, outputPadding });
}

/** A kernel `[out, C / groups, ...kernel]` with every spatial axis reversed, as `[C, out / groups, ...kernel]`. */
function turnedRound(weight: Tensor, groups: number): Tensor {
  const [out, inner, ...taps] = weight.shape;
  const count = sizeOf(taps);
  const backwards = constant(
    BigInt64Array.from({ length: count }, (_, i) => BigInt(count - 1 - i)),
    [count],
    "i64",
  );
  const reversed = count === 1 ? weight : gather(weight.reshape([out, inner, count]), backwards, 2);
  return reversed
    .reshape([groups, out / groups, inner, count])
    .transpose([0, 2, 1, 3])
    .reshape([groups * inner, out / groups, ...taps]);
}

/**
 * The gradient of a convolution's kernel `shape [out, C / groups, ...kernel]`: what every tap has seen of the input,
 * times the gradient, in one long matrix product per image and group, summed over the images. At stride 1 the taps of
 * the last axis move the input and all others move the gradient the other way, so that instead of every tap's view
 * of the input only as many views of both are made as the kernel is long.
 */
function convWeightGradient(g: Tensor, x: Tensor, shape: Shape, window: Window): Tensor {
  const { before, after, groups, strides } = window;
  const [out, inner, ...kernel] = shape;
  const isPadded = [...before, ...after].some((n) => n > 0);
  const padded = isPadded ? pad(x, [0, 0, ...before], [0, 0, ...after]) : x;
  const slides = strides.every((stride) => stride === 1);
  const ones = kernel.map(() => 1);
  const [ofInput, ofGradient] = slides
    ? [
        [...ones.slice(1), kernel.at(-1)!],
        [...kernel.slice(0, -1), 1],
      ]
    : [kernel, ones];
  // Along axes where the gradient moves, it is as long as the padded input.
  const sizes = g.shape
    .slice(2)
    .map((size, i) => (slides && i < kernel.length - 1 ? padded.shape[i + 2] : size));
  const flat = (view: Tensor, channels: number) => view.reshape([-1, channels, sizeOf(sizes)]);
  const seen = tapsOf(ofInput).map((tap) => flat(seenBy(tap, padded, sizes, window), inner));
  const moved = tapsOf(ofGradient).map((tap) => flat(movedBy(tap, g, sizes, window), out / groups));
  const product = concat(moved, 1).matmul(concat(seen, 1), { transB: true }); // [B · groups, moves · O/g, views · C/g]
  const [moves, views] = [moved.length, seen.length];
  return product
    .reshape([-1, groups, moves, out / groups, views, inner])
    .sum([0])
    .transpose([0, 2, 4, 1, 3])
    .reshape([out, inner, ...kernel]);
}

/** Every position of a kernel, the last axis fastest. */
function tapsOf(kernel: Shape): number[][] {
  return kernel.reduce<number[][]>(
    (taps, size) => taps.flatMap((tap) => Array.from({ length: size }, (_, i) => [...tap, i])),
    [[]],
  );
}

/** The elements of padded images that one tap of the kernel is multiplied with, one for each output. */
function seenBy(
  tap: readonly number[],
  images: Tensor,
  sizes: Shape,
  { strides, dilations }: Window,
): Tensor {
  return tap.reduce((view, at, i) => {
    const start = at * dilations[i];
    return view.slice(i + 2, start, start + (sizes[i] - 1) * strides[i] + 1, strides[i]);
  }, images);
}

/** The gradient of a convolution of stride 1, put where one tap has seen the padded input, with zeros around it. */
function movedBy(tap: readonly number[], g: Tensor, sizes: Shape, { dilations }: Window): Tensor {
  const before = tap.map((at, i) => at * dilations[i]);
  const after = before.map((n, i) => sizes[i] - g.shape[i + 2] - n);
  return [...before, ...after].every((n) => n === 0) ? g : pad(g, [0, 0, ...before], [0, 0, ...after]);
}

/** How far a window reaches over one axis, less the padding. */
function reachOf(kernel: Shape, { before, after, dilations }: Window, axis: number): number {
  return dilations[axis] * (kernel[axis + 2] - 1) + 1 - before[axis] - after[axis];
}

/** The first elements of every spatial axis. */
function cropSpatial(x: Tensor, sizes: Shape): Tensor {
  return sizes.reduce((y, size, i) => (y.shape[i + 2] === size ? y : y.slice(i + 2, 0, size)), x);
}
