/** @file Derivatives of matrix products, convolutions and pools. */
import { ShapeError } from "../errors.ts";
import { conv, convTranspose } from "../graph/functions.ts";
import type { Window } from "../graph/ops.ts";
import { type Shape, sizeOf } from "../graph/shape.ts";
import type { Tensor } from "../graph/tensor.ts";
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

/** The gradient of a convolution's input of `shape`; elements that no window reached get zeros at the end. */
function convInputGradient(g: Tensor, weight: Tensor, shape: Shape, window: Window): Tensor {
  const { strides } = window;
  const outputPadding = shape
    .slice(2)
    .map((size, i) => size - ((g.shape[i + 2] - 1) * strides[i] + reachOf(weight.shape, window, i)));
  return convTranspose(g, weight, { ...window, outputPadding });
}

/**
 * The gradient of a convolution's kernel `shape [out, C / groups, ...kernel]`. It is a convolution itself, of the input
 * with the gradient as kernel, channels and batch exchanged and strides and dilations exchanged.
 */
function convWeightGradient(g: Tensor, x: Tensor, shape: Shape, window: Window): Tensor {
  const { strides, dilations, before, after, groups } = window;
  const [batch, channels, ...spatial] = x.shape;
  const axes = spatial.map((_, i) => i + 3);
  const perGroup = channels / groups;
  const images = x
    .reshape([batch, groups, perGroup, ...spatial])
    .transpose([2, 1, 0, ...axes]) // [C / groups, groups, B, ...]
    .reshape([perGroup, groups * batch, ...spatial]);
  const kernels = g.transpose(exchanged(g)); // [out, B, ...]
  const swapped = { strides: dilations, dilations: strides, before, after, groups };
  const found = cropSpatial(conv(images, kernels, undefined, swapped), shape.slice(2)); // [C / groups, out, ...]
  return found.transpose(exchanged(found));
}

/** The permutation that exchanges the first two axes. */
function exchanged({ shape }: Tensor): number[] {
  return [1, 0, ...shape.slice(2).map((_, i) => i + 2)];
}

/** How far a window reaches over one axis, less the padding. */
function reachOf(kernel: Shape, { before, after, dilations }: Window, axis: number): number {
  return dilations[axis] * (kernel[axis + 2] - 1) + 1 - before[axis] - after[axis];
}

/** The first elements of every spatial axis. */
function cropSpatial(x: Tensor, sizes: Shape): Tensor {
  return sizes.reduce((y, size, i) => (y.shape[i + 2] === size ? y : y.slice(i + 2, 0, size)), x);
}
