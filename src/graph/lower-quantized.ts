/** @file How quantised linear maps are written in ONNX. */
import type { LowerRule } from "./lower.ts";
import type { OnnxWriter } from "./onnx.ts";
import type { ByteRange } from "./ops.ts";
import type { Tensor } from "./tensor.ts";

type QuantizedOp = "RowScale" | "QuantizeRows" | "ByteLinear" | "BlockLinear";

const MICROSOFT = "com.microsoft";

/** Products of activations rounded to a byte each, in whole numbers; more than the weights lose nothing. */
const COMPUTE_IN_BYTES = 4;

export const quantizedRules: { readonly [O in QuantizedOp]: LowerRule<O> } = {
  RowScale: (w, node, { range }) => {
    const x = w.nameOf(node.inputs[0]);
    const { zero, top } = bytes(w, range);
    const last = w.ints([-1]);
    const highest = w.node("ReduceMax", [x, last], { keepdims: 1 });
    const lowest = w.node("ReduceMin", [x, last], { keepdims: 1 });
    const above = w.node("Mul", [highest, float(w, 1 / (top - zero))]);
    const below = w.node("Mul", [lowest, float(w, -1 / zero)]);
    const scale = w.node("Max", [above, below, float(w, LEAST_SCALE)]);
    // Maxima pass over a NaN, which would be rounded to some byte and never be seen again; a sum does not.
    const sum = w.node("ReduceSum", [x, last], { keepdims: 1 });
    return w.node("Add", [scale, w.node("Mul", [sum, float(w, 0)])]);
  },
  QuantizeRows: (w, node, { range }) => {
    const [x, scale] = node.inputs.map((input) => w.nameOf(input));
    const scales = w.node("Reshape", [scale, w.ints([-1])]);
    const rows = w.node("Reshape", [x, w.hiddenInts([-1, node.dim(-1)])]);
    const zeros = w.node("Add", [w.node("Mul", [scales, float(w, 0)]), float(w, bytes(w, range).zero)]);
    const zeroPoints = w.node("Cast", [zeros], { to: U8 });
    const quantized = w.node("QuantizeLinear", [rows, scales, zeroPoints], { axis: 0 });
    if (!w.hasNarrowBytes) return w.node("Reshape", [quantized, w.hiddenInts(node.shape)]);
    const highest = w.initializer(Uint8Array.of(bytes(w, range).top), [], "u8");
    return w.node("Reshape", [w.node("Min", [quantized, highest]), w.hiddenInts(node.shape)]);
  },
  ByteLinear: (w, node, { range }) => {
    const [bytesOfRows, scale, weight, weightScale, bias] = operands(w, node);
    const rows = w.node("Reshape", [bytesOfRows, w.hiddenInts([-1, node.inputs[0].dim(-1)])]);
    const zero = w.initializer(Uint8Array.of(bytes(w, range).zero), [], "u8");
    const inputs = [rows, weight, float(w, 1), weightScale, zero];
    const product = w.node("MatMulIntegerToFloat", inputs, {}, MICROSOFT);
    const scaled = w.node("Mul", [product, w.node("Reshape", [scale, w.ints([-1, 1])])]);
    const result = bias === undefined ? scaled : w.node("Add", [scaled, bias]);
    return w.node("Reshape", [result, w.hiddenInts(node.shape)]);
  },
  BlockLinear: (w, node, { bits, block }) => {
    const [x, weight, scales, bias] = operands(w, node);
    const attributes = {
      K: node.inputs[0].dim(-1),
      N: node.dim(-1),
      bits,
      block_size: block,
      accuracy_level: COMPUTE_IN_BYTES,
    };
    const product = w.node("MatMulNBits", [x, weight, scales], attributes, MICROSOFT);
    return bias === undefined ? product : w.node("Add", [product, bias]);
  },
};

/** Parameters go in unhidden: scales that the engine cannot see when it loads the model count as zeros. */
function operands(w: OnnxWriter, { inputs }: Tensor): string[] {
  return inputs.map((input) =>
    input.op === "Param" && !w.isNarrow(input) ? w.stored(input).name : w.nameOf(input),
  );
}

/** `TensorProto.DataType` of unsigned bytes. */
const U8 = 2;

/** Rows of zeros need a scale that can be divided by. */
const LEAST_SCALE = 1e-30;

/** The byte that stands for zero, and the largest one. */
function bytes(w: OnnxWriter, range: ByteRange): { readonly zero: number; readonly top: number } {
  const count = w.hasNarrowBytes ? 128 : 256;
  return { zero: range === "balanced" ? count / 2 : count / 16, top: count - 1 };
}

function float(w: OnnxWriter, value: number): string {
  return w.initializer(Float32Array.of(value), [], "f32");
}
