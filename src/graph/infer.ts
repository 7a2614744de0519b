/** @file Shape and type of every operator's output, checked when the node is made. */
import { ShapeError } from "../errors.ts";
import { type DType, dtypes } from "./dtype.ts";
import type { Op, OpAttrs, Window } from "./ops.ts";
import {
  axisOf,
  broadcast,
  reshapeTo,
  type Shape,
  sameShape,
  showShape,
  sliceLength,
  windowLength,
} from "./shape.ts";

export type TensorType = { readonly shape: Shape; readonly dtype: DType };

/** From the types of the inputs and the attributes to the type of the output. */
export type InferRule<O extends Op> = (inputs: readonly TensorType[], attrs: OpAttrs[O]) => TensorType;

export const infer: { readonly [O in Op]: InferRule<O> } = {
  Input: (_, { shape, dtype }) => ({ shape, dtype }),
  Param: (_, { shape, dtype = "f32" }) => ({ shape, dtype }),
  Constant: (_, { shape, dtype }) => ({ shape, dtype }),
  Neg: same,
  Abs: same,
  Sign: same,
  Exp: same,
  Log: same,
  Sqrt: same,
  Reciprocal: same,
  Sin: same,
  Cos: same,
  Tanh: same,
  Sigmoid: same,
  Floor: same,
  Round: same,
  Relu: same,
  Silu: same,
  GeluTanh: same,
  Not: same,
  Cast: ([x], { to }) => ({ shape: x.shape, dtype: to }),
  Add: both,
  Sub: both,
  Mul: both,
  Div: both,
  Pow: both,
  Maximum: both,
  Minimum: both,
  Equal: compare,
  Less: compare,
  Greater: compare,
  Where: ([condition, a, b]) => {
    expect(condition.dtype === "bool", `the condition of Where must be bool, got ${condition.dtype}`);
    return { shape: broadcast(condition.shape, both([a, b]).shape), dtype: a.dtype };
  },
  Sum: reduce,
  Mean: reduce,
  Max: reduce,
  Softmax: ([x], { axis }) => {
    axisOf(axis, x.shape.length);
    return x;
  },
  Reshape: ([x], { shape }) => ({ ...x, shape: reshapeTo(x.shape, shape) }),
  Transpose: ([x], { perm }) => {
    const sorted = [...perm].sort((a, b) => a - b);
    expect(
      perm.length === x.shape.length && sorted.every((axis, i) => axis === i),
      `${showShape(perm)} is not a permutation of the axes of ${showShape(x.shape)}`,
    );
    return { ...x, shape: perm.map((axis) => x.shape[axis]) };
  },
  Expand: ([x], { shape }) => {
    expect(
      sameShape(broadcast(x.shape, shape), shape),
      `cannot expand ${showShape(x.shape)} to ${showShape(shape)}`,
    );
    return { ...x, shape };
  },
  Slice: ([x], { axis, start, end, step }) => {
    const at = axisOf(axis, x.shape.length);
    const length = sliceLength(start, end, step, x.shape[at]);
    expect(length > 0, `slice ${start}:${end}:${step} of axis ${axis} of ${showShape(x.shape)} is empty`);
    return { ...x, shape: x.shape.with(at, length) };
  },
  Concat: (inputs, { axis }) => {
    const [first] = inputs;
    const at = axisOf(axis, first.shape.length);
    const rest = first.shape.with(at, 0);
    const other = inputs.find((x) => x.dtype !== first.dtype || !sameShape(x.shape.with(at, 0), rest));
    // The words are made only where they are said: large clips join thousands of pieces.
    if (other !== undefined)
      throw new ShapeError(
        `cannot concatenate ${inputs.map((x) => showShape(x.shape)).join(", ")} on axis ${axis}`,
      );
    return {
      ...first,
      shape: first.shape.with(
        at,
        inputs.reduce((n, x) => n + x.shape[at], 0),
      ),
    };
  },
  Pad: ([x], { before, after }) => {
    expect(
      before.length === x.shape.length && after.length === x.shape.length,
      `padding ${showShape(before)} and ${showShape(after)} must name every axis of ${showShape(x.shape)}`,
    );
    return { ...x, shape: x.shape.map((d, i) => d + before[i] + after[i]) };
  },
  Gather: ([x, indices], { axis }) => {
    const at = axisOf(axis, x.shape.length);
    expect(!dtypes[indices.dtype].float, `Gather needs integer indices, got ${indices.dtype}`);
    return { ...x, shape: [...x.shape.slice(0, at), ...indices.shape, ...x.shape.slice(at + 1)] };
  },
  ScatterAdd: ([x, indices, updates]) => {
    const rows = [...indices.shape.slice(0, -1), ...x.shape.slice(1)];
    expect(
      indices.shape.at(-1) === 1 && sameShape(updates.shape, rows),
      `updates must be ${showShape(rows)}`,
    );
    return x;
  },
  After: same,
  Upsample: ([x], { scales }) => {
    expect(scales.length === x.shape.length, `Upsample of ${showShape(x.shape)} needs one scale per axis`);
    return { ...x, shape: x.shape.map((d, i) => d * scales[i]) };
  },
  MatMul: ([a, b], { transA, transB }) => {
    const [m, k] = lastTwo(a.shape, transA);
    const [k2, n] = lastTwo(b.shape, transB);
    expect(k === k2, `cannot multiply ${showShape(a.shape)} by ${showShape(b.shape)}: ${k} is not ${k2}`);
    return { ...a, shape: [...broadcast(a.shape.slice(0, -2), b.shape.slice(0, -2)), m, n] };
  },
  Linear: ([x, weight, bias]) => {
    const [out, width] = weight.shape;
    expect(x.shape.at(-1) === width, `a linear map of width ${width} cannot take ${showShape(x.shape)}`);
    if (bias) expect(sameShape(bias.shape, [out]), `bias must be [${out}], got ${showShape(bias.shape)}`);
    return { ...x, shape: x.shape.with(-1, out) };
  },
  RowScale: ([x]) => ({ shape: x.shape.with(-1, 1), dtype: "f32" }),
  QuantizeRows: ([x, scale]) => {
    expect(sameShape(scale.shape, x.shape.with(-1, 1)), `rows of ${showShape(x.shape)} need a scale each`);
    return { shape: x.shape, dtype: "u8" };
  },
  ByteLinear: ([rows, scale, weight, weightScale, bias]) => {
    const [width, out] = weight.shape;
    expect(
      rows.dtype === "u8" && weight.dtype === "i8",
      `a linear map of bytes takes u8 and i8, got ${rows.dtype} and ${weight.dtype}`,
    );
    expect(
      rows.shape.at(-1) === width,
      `a linear map of width ${width} cannot take ${showShape(rows.shape)}`,
    );
    for (const row of [weightScale, ...(bias ? [bias] : [])])
      expect(sameShape(row.shape, [out]), `scale and bias must be [${out}], got ${showShape(row.shape)}`);
    return { shape: rows.shape.with(-1, out), dtype: scale.dtype };
  },
  BlockLinear: ([x, weight, scales, bias], { bits, block }) => {
    const blocks = Math.ceil(x.shape.at(-1)! / block);
    const [out] = weight.shape;
    expect(
      sameShape(weight.shape, [out, blocks, (block * bits) / 8]) && sameShape(scales.shape, [out, blocks]),
      `${bits}-bit blocks of ${block} for ${showShape(x.shape)} cannot be ${showShape(weight.shape)} with scales ${showShape(scales.shape)}`,
    );
    if (bias) expect(sameShape(bias.shape, [out]), `bias must be [${out}], got ${showShape(bias.shape)}`);
    return { ...x, shape: x.shape.with(-1, out) };
  },
  Conv: ([x, weight, bias], window) => {
    const [out, perGroup, ...kernel] = weight.shape;
    const channels = x.shape[1];
    expect(
      channels === perGroup * window.groups && out % window.groups === 0,
      `a convolution from ${perGroup * window.groups} channels cannot take ${showShape(x.shape)}`,
    );
    if (bias) expect(sameShape(bias.shape, [out]), `bias must be [${out}], got ${showShape(bias.shape)}`);
    return { ...x, shape: [x.shape[0], out, ...windows(x.shape.slice(2), kernel, window)] };
  },
  ConvTranspose: ([x, weight], { strides, before, after, dilations, groups, outputPadding }) => {
    const [channels, perGroup, ...kernel] = weight.shape;
    expect(
      x.shape[1] === channels && x.shape.length === weight.shape.length,
      `a transposed convolution from ${channels} channels cannot take ${showShape(x.shape)}`,
    );
    const spatial = x.shape
      .slice(2)
      .map(
        (d, i) =>
          (d - 1) * strides[i] - before[i] - after[i] + dilations[i] * (kernel[i] - 1) + 1 + outputPadding[i],
      );
    return { ...x, shape: [x.shape[0], perGroup * groups, ...spatial] };
  },
  AveragePool: ([x], { kernel, strides }) => {
    const none = kernel.map(() => 0);
    const window = { strides, before: none, after: none, dilations: kernel.map(() => 1), groups: 1 };
    return { ...x, shape: [...x.shape.slice(0, 2), ...windows(x.shape.slice(2), kernel, window)] };
  },
  LayerNorm: normalized,
  RmsNorm: normalized,
  Attention: ([q, k, v, bias], { heads }) => {
    expect(
      [q, k, v].every((x) => x.shape.length === 3) &&
        sameShape(k.shape, v.shape) &&
        q.shape[0] === k.shape[0] &&
        q.shape[2] === k.shape[2],
      `attention takes [B, S, D] three times, got ${[q, k, v].map((x) => showShape(x.shape)).join(", ")}`,
    );
    expect(q.shape[2] % heads === 0, `width ${q.shape[2]} is not divisible by ${heads} heads`);
    const scores = [q.shape[0], heads, q.shape[1], k.shape[1]];
    if (bias)
      expect(
        bias.shape.length === 4 && bias.shape.every((d, i) => d === 1 || d === scores[i]),
        `attention bias must broadcast to ${showShape(scores)}, got ${showShape(bias.shape)}`,
      );
    return q;
  },
  Rotary: ([x, cos, sin], { heads }) => {
    const [batch, tokens, width] = x.shape;
    const half = width / heads / 2;
    const rows = [1, batch].some((count) => sameShape(cos.shape, [count, tokens, half]));
    expect(
      rows && sameShape(cos.shape, sin.shape),
      `rotary rows for ${showShape(x.shape)} must be [1 or ${batch}, ${tokens}, ${half}], got ${showShape(cos.shape)}`,
    );
    return x;
  },
};

function expect(condition: boolean, message: string): void {
  if (!condition) throw new ShapeError(message);
}

function same([x]: readonly TensorType[]): TensorType {
  return x;
}

function both([a, b]: readonly TensorType[]): TensorType {
  expect(a.dtype === b.dtype, `operands must have one type, got ${a.dtype} and ${b.dtype}`);
  return { shape: broadcast(a.shape, b.shape), dtype: a.dtype };
}

function compare(inputs: readonly TensorType[]): TensorType {
  return { shape: both(inputs).shape, dtype: "bool" };
}

function reduce([x]: readonly TensorType[], { axes, keepDims }: OpAttrs["Sum"]): TensorType {
  const reduced = axes.map((axis) => axisOf(axis, x.shape.length));
  const shape = keepDims
    ? x.shape.map((d, i) => (reduced.includes(i) ? 1 : d))
    : x.shape.filter((_, i) => !reduced.includes(i));
  return { ...x, shape };
}

function lastTwo(shape: Shape, transposed: boolean): Shape {
  if (shape.length < 2)
    throw new ShapeError(`a matrix product needs two axes or more, got ${showShape(shape)}`);
  return transposed ? [shape.at(-1)!, shape.at(-2)!] : [shape.at(-2)!, shape.at(-1)!];
}

function windows(spatial: Shape, kernel: Shape, { strides, before, after, dilations }: Window): number[] {
  expect(
    spatial.length === kernel.length,
    `a ${kernel.length}-D window cannot slide over ${showShape(spatial)}`,
  );
  return spatial.map((size, i) =>
    windowLength(size, {
      kernel: kernel[i],
      stride: strides[i],
      before: before[i],
      after: after[i],
      dilation: dilations[i],
    }),
  );
}

/** Scale (and bias) act on the last axis; a scale of rank 3 is one row per sample, as adaptive norms need. */
function normalized([x, ...affine]: readonly TensorType[]): TensorType {
  for (const row of affine)
    expect(
      row.shape.at(-1) === x.shape.at(-1) && sameShape(broadcast(x.shape, row.shape), x.shape),
      `scale and bias over the last axis of ${showShape(x.shape)} cannot be ${showShape(row.shape)}`,
    );
  return x;
}
