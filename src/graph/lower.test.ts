/** @file Every operator through the real engine, against plain TypeScript or stored results of PyTorch. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { elementwise } from "../../test/helpers/elementwise-cases.ts";
import { bool, counting, f32, i8, i32, i64, numbers, u8 } from "../../test/helpers/host-tensor.ts";
import { type CaseTable, computed, feedsParam, fromTorch, given } from "../../test/helpers/op-case.ts";
import { runGraph } from "../../test/helpers/run-graph.ts";
import { Engine } from "../runtime/engine.ts";
import * as ops from "./functions.ts";
import type { Op } from "./ops.ts";
import { constant, emit, input, type Tensor, toposort } from "./tensor.ts";

const byteLinear = (...inputs: Tensor[]) => emit("ByteLinear", inputs, { range: "balanced" });

/** Sums over the rows of 0, 1, 2, ... in a matrix. */
const columnSums = (rows: number, columns: number) =>
  Array.from({ length: columns }, (_, j) => (columns * rows * (rows - 1)) / 2 + rows * j);

/** One entry per operator: an operator without a case does not compile. */
const cases: CaseTable<Op> = {
  Input: [
    given("float32", f32([2], [1, -2])),
    given("a scalar", f32([], [7])),
    given("int32", i32([1, 2], [3, -4])),
  ],
  Param: [feedsParam()],
  Constant: [
    computed(
      "in the graph",
      [f32([2], [1, 2])],
      (x) => x.add(constant(Float32Array.of(10, 20), [2])),
      [2],
      [11, 22],
    ),
    computed(
      "of int64",
      [i64([2], [1, 2])],
      (x) => x.add(constant(BigInt64Array.of(-3n), [], "i64")),
      [2],
      [-2, -1],
    ),
  ],
  ...elementwise,
  Sum: [
    computed("one axis", [counting([2, 3])], (x) => x.sum([1]), [2], [3, 12]),
    computed("a negative axis, kept", [counting([2, 3])], (x) => x.sum([-2], true), [1, 3], [3, 5, 7]),
    computed("all axes", [counting([2, 3])], (x) => x.sum([0, 1]), [], [15]),
    computed("many rows", [counting([32, 2, 16])], (x) => x.sum([0, 1]), [16], columnSums(64, 16)),
    computed(
      "many rows, kept",
      [counting([64, 4, 4])],
      (x) => x.sum([0], true),
      [1, 4, 4],
      columnSums(64, 16),
    ),
    computed("no axes", [counting([2, 3])], (x) => x.sum([]), [2, 3], [0, 1, 2, 3, 4, 5]),
    computed("of int32", [i32([2, 2], [1, 2, 3, 4])], (x) => x.sum([0]), [2], [4, 6]),
    computed("of int64", [i64([2, 2], [1, 2, 3, 4])], (x) => x.sum([1]), [2], [3, 7]),
  ],
  Mean: [
    computed("outer axes", [counting([2, 2, 2])], (x) => x.mean([0, 2]), [2], [2.5, 4.5]),
    computed("no axes", [counting([2])], (x) => x.mean([]), [2], [0, 1]),
  ],
  Max: [
    computed("last axis", [f32([2, 3], [1, 5, 2, -3, -1, -2])], (x) => ops.reduceMax(x, [-1]), [2], [5, -1]),
    computed("kept", [f32([2, 2], [1, 5, 2, 3])], (x) => ops.reduceMax(x, [0], true), [1, 2], [2, 5]),
  ],
  Softmax: [
    fromTorch("softmax middle axis", (x) => ops.softmax(x, 1)),
    computed("does not overflow", [f32([2], [1000, 1000])], (x) => ops.softmax(x), [2], [0.5, 0.5]),
  ],
  Reshape: [
    computed("with a free axis", [counting([2, 3])], (x) => x.reshape([3, -1]), [3, 2], [0, 1, 2, 3, 4, 5]),
    computed("to a scalar", [f32([1, 1], [4])], (x) => x.reshape([]), [], [4]),
    computed("of bool", [bool([2], [1, 0])], (x) => x.reshape([2, 1]), [2, 1], [1, 0]),
  ],
  Transpose: [
    computed("reverses", [counting([2, 3])], (x) => x.transpose([1, 0]), [3, 2], [0, 3, 1, 4, 2, 5]),
    computed("rotates", [counting([2, 1, 3])], (x) => x.transpose([2, 0, 1]), [3, 2, 1], [0, 3, 1, 4, 2, 5]),
  ],
  Expand: [
    computed("repeats an axis of one", [f32([2, 1], [1, 2])], (x) => x.expand([2, 2]), [2, 2], [1, 1, 2, 2]),
    computed("adds axes", [f32([2], [1, 2])], (x) => x.expand([2, 1, 2]), [2, 1, 2], [1, 2, 1, 2]),
    computed("of int32", [i32([], [3])], (x) => x.expand([2]), [2], [3, 3]),
  ],
  Slice: [
    computed("a middle", [counting([5])], (x) => x.slice(0, 1, 3), [2], [1, 2]),
    computed("counting from the end", [counting([5])], (x) => x.slice(0, -2), [2], [3, 4]),
    computed("up to a negative end", [counting([2, 3])], (x) => x.slice(-1, 0, -1), [2, 2], [0, 1, 3, 4]),
    computed("beyond the end", [counting([3])], (x) => x.slice(0, 1, 99), [2], [1, 2]),
    computed("before the start", [counting([3])], (x) => x.slice(0, -99, 2), [2], [0, 1]),
    computed("with a step", [counting([7])], (x) => x.slice(0, 1, 7, 3), [2], [1, 4]),
    computed("of bool", [bool([3], [1, 0, 1])], (x) => x.slice(0, 1), [2], [0, 1]),
  ],
  Concat: [
    computed(
      "on the first axis",
      [f32([1, 2], [1, 2]), f32([2, 2], [3, 4, 5, 6])],
      (a, b) => ops.concat([a, b], 0),
      [3, 2],
      [1, 2, 3, 4, 5, 6],
    ),
    computed(
      "on the last axis",
      [f32([2, 1], [1, 2]), f32([2, 2], [3, 4, 5, 6])],
      (a, b) => ops.concat([a, b], -1),
      [2, 3],
      [1, 3, 4, 2, 5, 6],
    ),
    computed("a tensor with itself", [f32([1], [5])], (x) => ops.concat([x, x, x], 0), [3], [5, 5, 5]),
    computed("of int64", [i64([1], [1]), i64([1], [2])], (a, b) => ops.concat([a, b], 0), [2], [1, 2]),
  ],
  Pad: [
    computed(
      "with a value",
      [counting([2, 2])],
      (x) => ops.pad(x, [0, 1], [1, 0], "constant", -7),
      [3, 3],
      [-7, 0, 1, -7, 2, 3, -7, -7, -7],
    ),
    computed(
      "repeating the edge",
      [counting([3])],
      (x) => ops.pad(x, [2], [1], "edge"),
      [6],
      [0, 0, 0, 1, 2, 2],
    ),
    computed("mirroring", [counting([3])], (x) => ops.pad(x, [2], [1], "reflect"), [6], [2, 1, 0, 1, 2, 1]),
    computed("of int32", [i32([2], [1, 2])], (x) => ops.pad(x, [1], [0], "constant", 9), [3], [9, 1, 2]),
    computed("of int64", [i64([2], [1, 2])], (x) => ops.pad(x, [0], [1]), [3], [1, 2, 0]),
    computed("of bool", [bool([1], [1])], (x) => ops.pad(x, [1], [0]), [2], [0, 1]),
  ],
  Gather: [
    computed(
      "rows",
      [counting([3, 2]), i32([2, 2], [2, 0, 1, 1])],
      (x, i) => ops.gather(x, i),
      [2, 2, 2],
      [4, 5, 0, 1, 2, 3, 2, 3],
    ),
    computed(
      "columns",
      [counting([2, 3]), i64([2], [2, 0])],
      (x, i) => ops.gather(x, i, 1),
      [2, 2],
      [2, 0, 5, 3],
    ),
    computed("one row", [counting([2, 2]), i32([], [1])], (x, i) => ops.gather(x, i), [2], [2, 3]),
  ],
  ScatterAdd: [
    computed(
      "repeated rows add up",
      [counting([3, 2]), i64([3, 1], [0, 2, 0]), f32([3, 2], [10, 20, 30, 40, 50, 60])],
      ops.scatterAdd,
      [3, 2],
      [60, 81, 2, 3, 34, 45],
    ),
  ],
  After: [
    computed(
      "keeps value and shape",
      [counting([2, 3]), f32([4], [9, 9, 9, 9])],
      (x, earlier) => ops.after(x, earlier),
      [2, 3],
      [0, 1, 2, 3, 4, 5],
    ),
  ],
  Upsample: [
    computed(
      "repeats pixels",
      [f32([1, 1, 2, 2], [1, 2, 3, 4])],
      (x) => ops.upsample(x, [1, 1, 1, 2]),
      [1, 1, 2, 4],
      [1, 1, 2, 2, 3, 3, 4, 4],
    ),
    computed(
      "in both directions",
      [f32([1, 1, 1, 2], [1, 2])],
      (x) => ops.upsample(x, [1, 1, 2, 2]),
      [1, 1, 2, 4],
      [1, 1, 2, 2, 1, 1, 2, 2],
    ),
    computed(
      "five axes",
      [f32([1, 1, 2, 1, 1], [1, 2])],
      (x) => ops.upsample(x, [1, 1, 2, 1, 3]),
      [1, 1, 4, 1, 3],
      [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2],
    ),
  ],
  MatMul: [
    computed(
      "two matrices",
      [counting([2, 3]), counting([3, 2])],
      (a, b) => a.matmul(b),
      [2, 2],
      [10, 13, 28, 40],
    ),
    computed(
      "the first transposed",
      [counting([3, 2]), counting([3, 2])],
      (a, b) => a.matmul(b, { transA: true }),
      [2, 2],
      [20, 26, 26, 35],
    ),
    computed(
      "the second transposed",
      [counting([2, 3]), counting([2, 3])],
      (a, b) => a.matmul(b, { transB: true }),
      [2, 2],
      [5, 14, 14, 50],
    ),
    computed(
      "both transposed",
      [counting([3, 2]), counting([2, 3])],
      (a, b) => a.matmul(b, { transA: true, transB: true }),
      [2, 2],
      [10, 28, 13, 40],
    ),
    computed(
      "broadcasting the batch",
      [counting([2, 1, 2]), counting([2, 2])],
      (a, b) => a.matmul(b),
      [2, 1, 2],
      [2, 3, 6, 11],
    ),
  ],
  Linear: [
    fromTorch("linear", ops.linearMap),
    fromTorch("linear rank 2", ops.linearMap),
    computed("of a vector", [f32([2], [1, 2]), f32([1, 2], [3, 4])], ops.linearMap, [1], [11]),
  ],
  RowScale: [
    computed(
      "reaches the outermost value of each row",
      [f32([3, 2], [127, -1, 3, -256, 0, 0])],
      (x) => emit("RowScale", [x], { range: "balanced" }),
      [3, 1],
      [1, 2, 1e-30],
    ),
  ],
  QuantizeRows: [
    computed(
      "puts zero where the range says",
      [f32([2, 3], [0, 239, -16, 0, 478, -32]), f32([2, 1], [1, 2])],
      (x, scale) => emit("QuantizeRows", [x, scale], { range: "positive" }),
      [2, 3],
      [16, 255, 0, 16, 255, 0],
    ),
  ],
  ByteLinear: [
    computed(
      "scales rows and outputs",
      [u8([1, 2], [129, 126]), f32([1, 1], [0.5]), i8([2, 2], [1, 2, 3, 4]), f32([2], [1, 10])],
      byteLinear,
      [1, 2],
      [-2.5, -30],
    ),
  ],
  BlockLinear: [
    computed(
      "of 4 bits, lower ones first",
      [f32([1, 16], Array(16).fill(1)), u8([1, 1, 8], Array(8).fill(0x9a)), f32([1, 1], [0.5])],
      (x, weight, scales) => emit("BlockLinear", [x, weight, scales], { bits: 4, block: 16 }),
      [1, 1],
      [12],
    ),
    computed(
      "of 8 bits, the last block not full",
      [f32([1, 17], Array(17).fill(1)), u8([1, 2, 16], Array(32).fill(130)), f32([1, 2], [0.5, 3])],
      (x, weight, scales) => emit("BlockLinear", [x, weight, scales], { bits: 8, block: 16 }),
      [1, 1],
      [22],
    ),
  ],
  Conv: [
    fromTorch("conv 1d", (x, w, b) => ops.conv(x, w, b)),
    fromTorch("conv 2d", (x, w, b) =>
      ops.conv(x, w, b, { strides: [2, 1], before: [1, 0], after: [2, 1], dilations: [1, 2], groups: 2 }),
    ),
    fromTorch("conv 3d", (x, w, b) => ops.conv(x, w, b, { before: [2, 1, 1], after: [0, 1, 1] })),
  ],
  ConvTranspose: [
    fromTorch("convTranspose 1d", (x, w) => ops.convTranspose(x, w)),
    fromTorch("convTranspose 2d", (x, w) =>
      ops.convTranspose(x, w, {
        strides: [2, 2],
        before: [1, 1],
        after: [1, 1],
        groups: 2,
        outputPadding: [1, 1],
      }),
    ),
  ],
  AveragePool: [
    fromTorch("averagePool 2d", (x) => ops.averagePool(x, [2, 3])),
    fromTorch("averagePool overlapping", (x) => ops.averagePool(x, [3, 2, 2], [1, 2, 1])),
  ],
  LayerNorm: [
    fromTorch("layerNorm", (x, w, b) => ops.layerNorm(x, w, b, 1e-5)),
    fromTorch("layerNorm rows", (x, w, b) => ops.layerNorm(x, w, b, 1e-2)),
    fromTorch("layerNorm heads", (x, w, b) => ops.layerNorm(x, w, b, 1e-6)),
  ],
  RmsNorm: [fromTorch("rmsNorm", (x, w) => ops.rmsNorm(x, w, 1e-6))],
  Attention: [
    fromTorch("attention", (q, k, v) => ops.attention([q, k, v], 3)),
    fromTorch("attention bias", (q, k, v, bias) => ops.attention([q, k, v], 3, { scale: 1, bias })),
    fromTorch("attention bias per sample", (q, k, v, bias) => ops.attention([q, k, v], 2, { bias })),
  ],
  Rotary: [
    fromTorch("rotary shared rows", (x, cos, sin) => ops.rotary(x, cos, sin, 2)),
    fromTorch("rotary own rows", (x, cos, sin) => ops.rotary(x, cos, sin, 2)),
    computed(
      "leaves rows with cos 1 and sin 0",
      [counting([1, 2, 4]), f32([1, 2, 2], [1, 1, 1, 1]), f32([1, 2, 2], [0, 0, 0, 0])],
      (x, c, s) => ops.rotary(x, c, s, 1),
      [1, 2, 4],
      [0, 1, 2, 3, 4, 5, 6, 7],
    ),
  ],
};

let engine: Engine;
beforeAll(() => {
  engine = new Engine({ threads: 1 });
});
afterAll(() => engine.close());

describe.each(Object.entries(cases))("%s", (op, list) => {
  test.each(list.map((each) => [each.name, each] as const))(
    "%s",
    async (_, { feeds, build, shape, expected }) => {
      const y = build(...feeds.map((feed, i) => input(`x${i}`, feed.shape, feed.dtype)));
      expect(toposort([y]).map((node) => node.op)).toContain(op);
      const result = await runGraph(engine, build, feeds);
      expect(result.shape).toEqual(shape);
      expect(result.shape).toEqual(y.shape);
      expect(result.dtype).toBe(y.dtype);
      expect(numbers(result)).toBeCloseToArray(expected, { atol: 2e-6, rtol: 2e-6 });
    },
  );
});
