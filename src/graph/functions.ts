/** @file Operators as functions, for everything that is not a method of Tensor. */
import type { Window } from "./ops.ts";
import type { Shape } from "./shape.ts";
import { emit, lift, type Operand, type Tensor } from "./tensor.ts";

export const abs = (x: Tensor): Tensor => emit("Abs", [x], {});
export const sign = (x: Tensor): Tensor => emit("Sign", [x], {});
export const exp = (x: Tensor): Tensor => emit("Exp", [x], {});
export const log = (x: Tensor): Tensor => emit("Log", [x], {});
export const sqrt = (x: Tensor): Tensor => emit("Sqrt", [x], {});
export const reciprocal = (x: Tensor): Tensor => emit("Reciprocal", [x], {});
export const sin = (x: Tensor): Tensor => emit("Sin", [x], {});
export const cos = (x: Tensor): Tensor => emit("Cos", [x], {});
export const tanh = (x: Tensor): Tensor => emit("Tanh", [x], {});
export const sigmoid = (x: Tensor): Tensor => emit("Sigmoid", [x], {});
export const floor = (x: Tensor): Tensor => emit("Floor", [x], {});
export const round = (x: Tensor): Tensor => emit("Round", [x], {});
export const relu = (x: Tensor): Tensor => emit("Relu", [x], {});
/** x · sigmoid(x) */
export const silu = (x: Tensor): Tensor => emit("Silu", [x], {});
/** 0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³))) */
export const geluTanh = (x: Tensor): Tensor => emit("GeluTanh", [x], {});
export const not = (x: Tensor): Tensor => emit("Not", [x], {});

export const pow = (x: Tensor, y: Operand): Tensor => emit("Pow", [x, lift(y, x)], {});
export const maximum = (x: Tensor, y: Operand): Tensor => emit("Maximum", [x, lift(y, x)], {});
export const minimum = (x: Tensor, y: Operand): Tensor => emit("Minimum", [x, lift(y, x)], {});
export const equal = (x: Tensor, y: Operand): Tensor => emit("Equal", [x, lift(y, x)], {});
export const less = (x: Tensor, y: Operand): Tensor => emit("Less", [x, lift(y, x)], {});
export const greater = (x: Tensor, y: Operand): Tensor => emit("Greater", [x, lift(y, x)], {});
export const where = (condition: Tensor, x: Tensor, y: Operand): Tensor =>
  emit("Where", [condition, x, lift(y, x)], {});

export const reduceMax = (x: Tensor, axes: readonly number[], keepDims = false): Tensor =>
  emit("Max", [x], { axes: axes.map((axis) => (axis < 0 ? axis + x.shape.length : axis)), keepDims });
export const softmax = (x: Tensor, axis = -1): Tensor => emit("Softmax", [x], { axis });

export const concat = (inputs: readonly Tensor[], axis: number): Tensor =>
  inputs.length === 1
    ? inputs[0]
    : emit("Concat", inputs, { axis: axis < 0 ? axis + inputs[0].shape.length : axis });

/** Adds `before[i]` and `after[i]` elements around axis i. */
export function pad(
  x: Tensor,
  before: Shape,
  after: Shape,
  mode: "constant" | "edge" | "reflect" = "constant",
  value = 0,
): Tensor {
  return emit("Pad", [x], { before, after, mode, value });
}

/** Rows of `x` along `axis` picked by integer `indices`; the shape of `indices` replaces the axis. */
export const gather = (x: Tensor, indices: Tensor, axis = 0): Tensor =>
  emit("Gather", [x, indices], { axis });

/** `x` with `updates` added to the rows named by `indices` [..., 1]; repeated indices add up. */
export const scatterAdd = (x: Tensor, indices: Tensor, updates: Tensor): Tensor =>
  emit("ScatterAdd", [x, indices, updates], {});

/** `x`, but not computed before `earlier` is there: an order that saves memory, and no change of value. */
export const after = (x: Tensor, earlier: Tensor): Tensor => emit("After", [x, earlier], {});

/** Repeats every element `scales[i]` times along axis i: nearest-neighbour upsampling by whole factors. */
export const upsample = (x: Tensor, scales: readonly number[]): Tensor => emit("Upsample", [x], { scales });

/** x Wᵀ + b for `x [..., in]`, `weight [out, in]`, `bias [out]`. */
export const linearMap = (x: Tensor, weight: Tensor, bias?: Tensor): Tensor =>
  emit("Linear", bias ? [x, weight, bias] : [x, weight], {});

/** Convolution windows with every entry optional; missing ones are 1 (strides, dilations) or 0 (padding). */
export type WindowOptions = Partial<Window>;

/**
 * N-dimensional convolution of `x [B, C, ...spatial]` with `weight [out, C / groups, ...kernel]`. With `block` above 1
 * (two spatial axes only), x and the result lie in memory in blocks of that many channels, [B, C / block, H, W, block],
 * and the kernel as [out / block, C / block, kh, kw, block (in), block (out)]; the shapes stay the logical ones.
 */
export function conv(
  x: Tensor,
  weight: Tensor,
  bias?: Tensor,
  { block = 1, ...options }: WindowOptions & { readonly block?: number } = {},
): Tensor {
  const window = windowOf(weight.shape.length - 2, options);
  return emit("Conv", bias ? [x, weight, bias] : [x, weight], { ...window, block });
}

/** Transposed convolution of `x [B, C, ...spatial]` with `weight [C, out / groups, ...kernel]`. */
export function convTranspose(
  x: Tensor,
  weight: Tensor,
  { outputPadding, ...options }: WindowOptions & { outputPadding?: readonly number[] } = {},
): Tensor {
  const rank = weight.shape.length - 2;
  const padding = outputPadding ?? Array(rank).fill(0);
  return emit("ConvTranspose", [x, weight], { ...windowOf(rank, options), outputPadding: padding });
}

export const averagePool = (x: Tensor, kernel: readonly number[], strides = kernel): Tensor =>
  emit("AveragePool", [x], { kernel, strides });

/** (x - mean) / √(var + eps) · scale + bias over the last axis; scale and bias broadcast to x. */
export const layerNorm = (x: Tensor, scale: Tensor, bias: Tensor, eps: number): Tensor =>
  emit("LayerNorm", [x, scale, bias], { eps });

/** x / √(mean(x²) + eps) · scale over the last axis. */
export const rmsNorm = (x: Tensor, scale: Tensor, eps: number): Tensor =>
  emit("RmsNorm", [x, scale], { eps });

/**
 * softmax(q kᵀ · scale + bias) v per head, for q, k, v `[B, S, heads · d]` and an optional bias that broadcasts
 * to `[B, heads, Sq, Sk]`. Without a bias the engine works in tiles and never holds S x S.
 */
export function attention(
  [q, k, v]: readonly [Tensor, Tensor, Tensor],
  heads: number,
  { scale = 1 / Math.sqrt(q.dim(-1) / heads), bias }: { scale?: number; bias?: Tensor } = {},
): Tensor {
  return emit("Attention", bias ? [q, k, v, bias] : [q, k, v], { heads, scale });
}

/**
 * Rotates adjacent channel pairs of every head: x `[B, S, heads · d]`, cos and sin `[B or 1, S, d / 2]`.
 * Rows with cos = 1, sin = 0 stay as they are.
 */
export const rotary = (x: Tensor, cos: Tensor, sin: Tensor, heads: number): Tensor =>
  emit("Rotary", [x, cos, sin], { heads });

function windowOf(rank: number, options: WindowOptions): Window {
  const fill = (value: number): number[] => Array(rank).fill(value);
  return {
    strides: options.strides ?? fill(1),
    before: options.before ?? fill(0),
    after: options.after ?? fill(0),
    dilations: options.dilations ?? fill(1),
    groups: options.groups ?? 1,
  };
}
