/** @file How every operator is written in ONNX. */
import { dtypes } from "./dtype.ts";
import { quantizedRules } from "./lower-quantized.ts";
import type { OnnxWriter } from "./onnx.ts";
import type { Op, OpAttrs, Window } from "./ops.ts";
import { sameShape, sizeOf } from "./shape.ts";
import type { Tensor } from "./tensor.ts";

/** Adds the ONNX nodes for `node` and returns the name of the value that holds its result. */
export type LowerRule<O extends Op> = (writer: OnnxWriter, node: Tensor, attrs: OpAttrs[O]) => string;

const MICROSOFT = "com.microsoft";
const BLOCKED = "com.microsoft.nchwc";

export const lower: { readonly [O in Op]: LowerRule<O> } = {
  Input: (w, node, { name }) => w.input({ name, shape: node.shape, dtype: node.dtype }),
  Param: (w, node) => w.stored(node).name,
  Constant: (w, _, { data, shape, dtype }) => w.initializer(data, shape, dtype),
  Neg: direct("Neg"),
  Abs: direct("Abs"),
  Sign: direct("Sign"),
  Exp: direct("Exp"),
  Log: direct("Log"),
  Sqrt: direct("Sqrt"),
  Reciprocal: direct("Reciprocal"),
  Sin: direct("Sin"),
  Cos: direct("Cos"),
  Tanh: direct("Tanh"),
  Sigmoid: direct("Sigmoid"),
  Floor: direct("Floor"),
  Round: direct("Round"),
  Relu: direct("Relu"),
  Silu: (w, node) => w.node("QuickGelu", operands(w, node), { alpha: { float: 1 } }, MICROSOFT),
  GeluTanh: (w, node) => w.node("FastGelu", operands(w, node), {}, MICROSOFT),
  Not: direct("Not"),
  Cast: (w, node, { to }) => w.node("Cast", operands(w, node), { to: dtypes[to].onnx }),
  Add: direct("Add"),
  Sub: direct("Sub"),
  Mul: direct("Mul"),
  Div: direct("Div"),
  Pow: direct("Pow"),
  Maximum: direct("Max"),
  Minimum: direct("Min"),
  Equal: direct("Equal"),
  Less: direct("Less"),
  Greater: direct("Greater"),
  Where: direct("Where"),
  Sum: lowerSum,
  Mean: reduction("ReduceMean"),
  Max: reduction("ReduceMax"),
  Softmax: (w, node, { axis }) => w.node("Softmax", operands(w, node), { axis }),
  Reshape: (w, node) =>
    w.node("Reshape", [...operands(w, node), w.hiddenInts(node.shape, sizeOf(node.shape))]),
  Transpose: (w, node, { perm }) => w.node("Transpose", operands(w, node), { perm }),
  Expand: (w, node) => w.node("Expand", [...operands(w, node), w.ints(node.shape)]),
  Slice: (w, node, { axis, start, end, step }) =>
    w.node("Slice", [...operands(w, node), w.ints([start]), w.ints([end]), w.ints([axis]), w.ints([step])]),
  Concat: (w, node, { axis }) => w.node("Concat", operands(w, node), { axis }),
  Pad: (w, node, { before, after, mode, value }) => {
    const wide = w.initializer(Float32Array.of(value), [], "f32");
    const fill = node.dtype === "f32" ? wide : w.node("Cast", [wide], { to: dtypes[node.dtype].onnx });
    return w.node("Pad", [...operands(w, node), w.ints([...before, ...after]), fill], { mode });
  },
  Gather: (w, node, { axis }) => {
    const [table, indices] = node.inputs;
    if (table.op !== "Param") return w.node("Gather", operands(w, node), { axis });
    const stored = w.stored(table);
    const rows = w.node("Gather", [stored.name, w.nameOf(indices)], { axis });
    return stored.dtype === node.dtype ? rows : w.node("Cast", [rows], { to: dtypes[node.dtype].onnx });
  },
  ScatterAdd: (w, node) => w.node("ScatterND", operands(w, node), { reduction: "add" }),
  After: (w, node) => {
    const [x, earlier] = operands(w, node);
    return w.node("Reshape", [x, w.keepAxes(node.shape.length, earlier)]);
  },
  Upsample: (w, node, { scales }) =>
    w.node(
      "Resize",
      [...operands(w, node), "", w.initializer(Float32Array.from(scales), [scales.length], "f32")],
      {
        mode: "nearest",
        coordinate_transformation_mode: "asymmetric",
        nearest_mode: "floor",
      },
    ),
  MatMul: (w, node, { transA, transB }) =>
    transA || transB
      ? w.node(
          "FusedMatMul",
          operands(w, node),
          { transA: Number(transA), transB: Number(transB) },
          MICROSOFT,
        )
      : w.node("MatMul", operands(w, node)),
  Linear: lowerLinear,
  ...quantizedRules,
  Conv: lowerConv,
  ConvTranspose: (w, node, { outputPadding, ...window }) =>
    w.node("ConvTranspose", operands(w, node), {
      ...windowAttributes(node, window),
      output_padding: outputPadding,
    }),
  AveragePool: (w, node, { kernel, strides }) =>
    w.node("AveragePool", operands(w, node), { kernel_shape: kernel, strides }),
  LayerNorm: lowerLayerNorm,
  RmsNorm: (w, node, { eps }) =>
    w.node("RMSNormalization", operands(w, node), { axis: -1, epsilon: { float: eps } }),
  Attention: (w, node, { heads, scale }) => {
    const [q, k, v, bias] = node.inputs.map((x) => rounded(w, w.nameOf(x), x));
    const inputs = bias === undefined ? [q, k, v] : [q, k, v, "", "", bias];
    const attributes = { num_heads: heads, scale: { float: scale } };
    return rounded(w, w.node("MultiHeadAttention", inputs, attributes, MICROSOFT), node);
  },
  Rotary: (w, node, { heads }) => {
    const [x, ...rows] = operands(w, node);
    const [batch] = node.shape;
    const shape = node.inputs[1].shape.with(0, batch);
    const expanded =
      node.inputs[1].dim(0) === batch ? rows : rows.map((r) => w.node("Expand", [r, w.ints(shape)]));
    return w.node("RotaryEmbedding", [x, ...expanded], { interleaved: 1, num_heads: heads });
  },
};

/** Scales that differ between samples are an extension of the CPU provider; elsewhere they are applied afterwards. */
function lowerLayerNorm(w: OnnxWriter, node: Tensor, { eps }: OpAttrs["LayerNorm"]): string {
  const [x, scale, bias] = operands(w, node);
  const attributes = { axis: -1, epsilon: { float: eps } };
  const isOneRow = node.inputs.slice(1).every((row) => row.shape.length === 1);
  if (isOneRow || !w.isPortable) return w.node("LayerNormalization", [x, scale, bias], attributes);
  const width = node.dim(-1);
  const ones = w.initializer(new Float32Array(width).fill(1), [width], "f32");
  const normal = w.node("LayerNormalization", [x, ones], attributes);
  return w.node("Add", [w.node("Mul", [normal, scale]), bias]);
}

function lowerConv(w: OnnxWriter, node: Tensor, { block, ...window }: OpAttrs["Conv"]): string {
  const [x, ...weights] = operands(w, node);
  if (!w.isPortable || !isMistakenForProduct(node, window))
    return w.node("Conv", [x, ...weights], windowAttributes(node, window), block > 1 ? BLOCKED : "");
  const none = window.before.map(() => 0);
  const padded = w.node("Pad", [x, w.ints([0, 0, ...none, 0, 0, ...window.after])], { mode: "constant" });
  return w.node("Conv", [padded, ...weights], windowAttributes(node, { ...window, after: none }));
}

/** The WebGPU provider takes a kernel of the input's size for one matrix product, and overlooks padding at the end. */
function isMistakenForProduct({ inputs: [x, weight] }: Tensor, { before, after }: Window): boolean {
  const isCovered = sameShape(x.shape.slice(2), weight.shape.slice(2));
  return isCovered && before.every((n) => n === 0) && after.some((n) => n > 0);
}

/** Sums over at least so many rows of at least so many columns are products with a row of ones. */
const ROWS_OF_ONES = { minRows: 64, minColumns: 16 } as const;

/** A sum over leading axes, as gradients of biases and scales are, takes a third to a quarter of the time as a product. */
function lowerSum(w: OnnxWriter, node: Tensor, attrs: OpAttrs["Sum"]): string {
  const [x] = node.inputs;
  const rows = sizeOf(x.shape.slice(0, attrs.axes.length));
  const columns = sizeOf(x.shape) / rows;
  const isLeading = attrs.axes.every((axis, i) => axis === i);
  const isLong = rows >= ROWS_OF_ONES.minRows && columns >= ROWS_OF_ONES.minColumns;
  if (!isLeading || !isLong || node.dtype !== "f32") return reduction("ReduceSum")(w, node, attrs);
  const matrix = w.node("Reshape", [w.nameOf(x), w.hiddenInts([rows, columns], sizeOf(x.shape))]);
  const ones = w.node("Expand", [w.initializer(Float32Array.of(1), [], "f32"), w.ints([1, rows])]);
  return w.node("Reshape", [w.node("MatMul", [ones, matrix]), w.hiddenInts(node.shape, columns)]);
}

/** Few rows against a large narrow matrix: widened piece by piece, each piece is still in cache when it is used. */
const STREAM = { maxRows: 1024, pieceElements: 1 << 21, minElements: 1 << 22 } as const;

function lowerLinear(w: OnnxWriter, node: Tensor): string {
  const [x, weight, bias] = node.inputs;
  const flat = x.shape.length === 2 && x.dtype !== "f16";
  const rows = flat
    ? w.nameOf(x)
    : w.node("Reshape", [w.nameOf(x), w.hiddenInts([-1, x.dim(-1)], sizeOf(x.shape))]);
  const isStreamed =
    w.isNarrow(weight) &&
    sizeOf(weight.shape) >= STREAM.minElements &&
    sizeOf(x.shape) / x.dim(-1) <= STREAM.maxRows;
  const bare = isStreamed
    ? streamedProduct(w, rows, weight)
    : w.node("Gemm", [rows, w.nameOf(weight)], { transB: 1 });
  // A product that is given the bias first fills its result with it, on one thread, which takes longer than adding it.
  const product = bias === undefined ? bare : w.node("Add", [bare, w.nameOf(bias)]);
  return flat ? product : w.node("Reshape", [product, w.hiddenInts(node.shape, sizeOf(node.shape))]);
}

/** x Wᵀ for rows of W at a time. Each piece waits for the one before it, so that one copy is alive at a time. */
function streamedProduct(w: OnnxWriter, rows: string, weight: Tensor): string {
  const [out, width] = weight.shape;
  const step = Math.max(1, Math.floor(STREAM.pieceElements / width));
  const pieces: string[] = [];
  for (let start = 0; start < out; start += step) {
    const piece = w.widenedRows(weight, start, Math.min(start + step, out), pieces.at(-1) ?? rows);
    pieces.push(w.node("Gemm", [rows, piece], { transB: 1 }));
  }
  return pieces.length === 1 ? pieces[0] : w.node("Concat", pieces, { axis: 1 });
}

/**
 * A value in float16 behind a reshape to the shape that it has. Processors compute float16 by way of float32, and the
 * engine leaves out a narrowing whose result it would widen next, which would keep bits that other devices do not have.
 */
function rounded(w: OnnxWriter, value: string, { dtype, shape }: Tensor): string {
  if (dtype !== "f16" || w.isPortable) return value;
  return w.node("Reshape", [value, w.hiddenInts(shape, sizeOf(shape))]);
}

function operands(writer: OnnxWriter, node: Tensor): string[] {
  return node.inputs.map((x) => writer.nameOf(x));
}

/** An operator that ONNX has under one name with no attributes. */
function direct(opType: string): (writer: OnnxWriter, node: Tensor) => string {
  return (writer, node) => writer.node(opType, operands(writer, node));
}

function reduction(opType: string): LowerRule<"Sum" | "Mean" | "Max"> {
  // ONNX reads an empty list of axes as all of them.
  return (writer, node, { axes, keepDims }) =>
    axes.length === 0
      ? writer.node("Identity", operands(writer, node))
      : writer.node(opType, [...operands(writer, node), writer.ints(axes)], { keepdims: Number(keepDims) });
}

function windowAttributes(node: Tensor, { strides, before, after, dilations, groups }: Window) {
  const kernel = node.inputs[1].shape.slice(2);
  return { kernel_shape: kernel, strides, pads: [...before, ...after], dilations, group: groups };
}
