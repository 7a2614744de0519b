/** @file The operator list: every node a graph can hold, with the attributes it carries. */
import type { DType, HostArray } from "./dtype.ts";
import type { Shape } from "./shape.ts";

type None = Record<never, never>;
type Axes = { readonly axes: readonly number[]; readonly keepDims: boolean };

/** Windows of convolutions and pools; one entry per spatial axis. */
export type Window = {
  readonly strides: readonly number[];
  readonly before: readonly number[];
  readonly after: readonly number[];
  readonly dilations: readonly number[];
  readonly groups: number;
};

/**
 * Where zero lies among the 256 values of a byte: in the middle, or a sixteenth from the lower end for values that are
 * hardly ever negative, as those behind a GELU.
 */
export type ByteRange = "balanced" | "positive";

/** Attributes by operator. Inputs are named in `infer.ts`, where their shapes are checked. */
export type OpAttrs = {
  // Leaves
  Input: { readonly name: string; readonly shape: Shape; readonly dtype: DType };
  /** Float32 unless another type is named. */
  Param: { readonly key: string; readonly shape: Shape; readonly dtype?: DType };
  Constant: { readonly data: HostArray; readonly shape: Shape; readonly dtype: DType };
  // Elementwise, one operand
  Neg: None;
  Abs: None;
  Sign: None;
  Exp: None;
  Log: None;
  Sqrt: None;
  Reciprocal: None;
  Sin: None;
  Cos: None;
  Tanh: None;
  Sigmoid: None;
  Floor: None;
  Round: None;
  Relu: None;
  Silu: None;
  GeluTanh: None;
  Not: None;
  Cast: { readonly to: DType };
  // Elementwise, broadcast operands
  Add: None;
  Sub: None;
  Mul: None;
  Div: None;
  Pow: None;
  Maximum: None;
  Minimum: None;
  Equal: None;
  Less: None;
  Greater: None;
  Where: None;
  // Reductions
  Sum: Axes;
  Mean: Axes;
  Max: Axes;
  Softmax: { readonly axis: number };
  // Movement
  Reshape: { readonly shape: Shape };
  Transpose: { readonly perm: readonly number[] };
  Expand: { readonly shape: Shape };
  Slice: { readonly axis: number; readonly start: number; readonly end: number; readonly step: number };
  Concat: { readonly axis: number };
  Pad: {
    readonly before: readonly number[];
    readonly after: readonly number[];
    readonly mode: "constant" | "edge" | "reflect";
    readonly value: number;
  };
  Gather: { readonly axis: number };
  ScatterAdd: None;
  /** The first input, not computed before the second one. */
  After: None;
  Upsample: { readonly scales: readonly number[] };
  // Linear algebra
  MatMul: { readonly transA: boolean; readonly transB: boolean };
  Linear: None;
  // Quantised linear maps, see quantize.ts
  RowScale: { readonly range: ByteRange };
  QuantizeRows: { readonly range: ByteRange };
  ByteLinear: { readonly range: ByteRange };
  BlockLinear: { readonly bits: 4 | 8; readonly block: number };
  /** With `block` above 1, values lie in memory as [N, C / block, H, W, block] and kernels accordingly. */
  Conv: Window & { readonly block: number };
  ConvTranspose: Window & { readonly outputPadding: readonly number[] };
  AveragePool: { readonly kernel: readonly number[]; readonly strides: readonly number[] };
  // Normalisation and attention
  LayerNorm: { readonly eps: number };
  RmsNorm: { readonly eps: number };
  Attention: { readonly heads: number; readonly scale: number };
  Rotary: { readonly heads: number };
};

export type Op = keyof OpAttrs;
