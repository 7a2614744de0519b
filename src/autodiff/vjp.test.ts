/** @file Every rule against central differences, through the real engine. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Build, byDifferences, byRules, relativeError } from "../../test/helpers/central-differences.ts";
import { f32, hashed, i32, i64, numbers } from "../../test/helpers/host-tensor.ts";
import { ShapeError } from "../errors.ts";
import * as ops from "../graph/functions.ts";
import type { Op } from "../graph/ops.ts";
import { constant, emit, input, type Tensor, toposort } from "../graph/tensor.ts";
import { Engine } from "../runtime/engine.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import { gradientsOrNull } from "./grad.ts";
import type { quantized } from "./quantized.ts";

type Case = {
  readonly name: string;
  readonly feeds: readonly HostTensor[];
  readonly build: Build;
  /** True where no gradient may pass. */
  readonly stops: boolean;
};

const follows = (
  name: string,
  feeds: Case["feeds"],
  build: (...x: [Tensor, Tensor, Tensor, Tensor]) => Tensor,
): Case => ({ name, feeds, build: build as Build, stops: false });

const stops = (build: (x: Tensor) => Tensor): Case => ({
  name: "lets nothing pass",
  feeds: [hashed([3])],
  build,
  stops: true,
});

/** Away from 0 by 0.3 and more, of both signs. */
const offZero = (shape: readonly number[], key = 0): HostTensor =>
  f32(
    shape,
    numbers(hashed(shape, key)).map((v) => v + Math.sign(v) * 0.3),
  );

/** In 0.5 to 2.5. */
const positive = (shape: readonly number[], key = 0): HostTensor =>
  f32(
    shape,
    numbers(hashed(shape, key)).map((v) => 0.5 + Math.abs(v)),
  );

const unary = (build: (x: Tensor) => Tensor, x = hashed([2, 4])): [Case] => [
  follows("one tensor", [x], build),
];

const binary = (build: (a: Tensor, b: Tensor) => Tensor, feed = hashed): [Case, ...Case[]] => [
  follows("a row", [feed([2, 3]), feed([3], 1)], build),
  follows("a column and more axes", [feed([2, 1]), feed([2, 1, 3], 1)], build),
  follows("a scalar", [feed([]), feed([2, 2], 1)], build),
];

/** One entry per operator: an operator without a case does not compile. Quantised maps refuse, see quantized.test.ts. */
const cases: { readonly [O in Exclude<Op, keyof typeof quantized>]: readonly [Case, ...Case[]] } = {
  Input: [follows("itself", [hashed([2])], (x) => x)],
  Param: [stops((x) => emit("Param", [], { key: "w", shape: [3] }).add(ops.floor(x)))],
  Constant: [follows("beside an input", [hashed([2])], (x) => x.mul(constant(Float32Array.of(3, 4), [2])))],
  Neg: unary((x) => x.neg()),
  Abs: unary(ops.abs, offZero([6])),
  Sign: [stops(ops.sign)],
  Exp: unary(ops.exp),
  Log: unary(ops.log, positive([6])),
  Sqrt: unary(ops.sqrt, positive([6])),
  Reciprocal: unary(ops.reciprocal, positive([6])),
  Sin: unary(ops.sin),
  Cos: unary(ops.cos),
  Tanh: unary(ops.tanh),
  Sigmoid: unary(ops.sigmoid),
  Floor: [stops(ops.floor)],
  Round: [stops(ops.round)],
  Relu: unary(ops.relu, offZero([6])),
  Silu: unary(ops.silu),
  GeluTanh: unary(ops.geluTanh),
  Not: [stops((x) => ops.not(ops.greater(x, 0)).cast("f32"))],
  Cast: [
    follows("between float types", [f32([2], [1, 2])], (x) => x.add(x.mul(0).cast("f16").cast("f32").mul(3))),
    stops((x) => x.cast("i32").cast("f32")),
  ],
  Add: binary((a, b) => a.add(b)),
  Sub: binary((a, b) => a.sub(b)),
  Mul: binary((a, b) => a.mul(b)),
  Div: binary((a, b) => a.div(b), positive),
  Pow: [
    ...binary(ops.pow, positive),
    follows("a square", [hashed([4])], (x) => ops.pow(x, 2)),
    follows("a cube of either sign", [hashed([4])], (x) => ops.pow(x, 3)),
    follows("to the power 0 at 0", [f32([2], [0, 1])], (x) => ops.pow(x, 0)),
    follows("0 and negative numbers to a whole power", [f32([2], [0, -1.5])], (x) =>
      ops.pow(x, constant(Float32Array.of(2, 3), [2])),
    ),
  ],
  Maximum: binary(ops.maximum),
  Minimum: [
    ...binary(ops.minimum),
    follows("ties half and half", [f32([2], [1, 2])], (x) =>
      ops.minimum(x, constant(Float32Array.of(1, 2), [2])),
    ),
  ],
  Equal: [stops((x) => ops.equal(x, 1).cast("f32"))],
  Less: [stops((x) => ops.less(x, 1).cast("f32"))],
  Greater: [stops((x) => ops.greater(x, 1).cast("f32"))],
  Where: [
    follows("broadcasting all", [i32([2, 1], [1, 0]), hashed([3]), hashed([], 1)], (c, a, b) =>
      ops.where(c.cast("bool"), a, b),
    ),
  ],
  Sum: [
    follows("inner axis", [hashed([2, 3, 2])], (x) => x.sum([1])),
    follows("two axes, kept", [hashed([2, 3, 2])], (x) => x.sum([0, -1], true)),
    follows("everything", [hashed([2, 3])], (x) => x.sum([0, 1])),
    follows("no axes", [hashed([2])], (x) => x.sum([])),
  ],
  Mean: [
    follows("outer axes", [hashed([2, 3, 2])], (x) => x.mean([0, 2])),
    follows("last axis, kept", [hashed([2, 3])], (x) => x.mean([-1], true)),
  ],
  Max: [
    follows("last axis", [hashed([2, 4])], (x) => ops.reduceMax(x, [-1])),
    follows("first axis, kept", [hashed([3, 2])], (x) => ops.reduceMax(x, [0], true)),
    follows("ties share", [f32([2], [1, 1])], (x) => ops.reduceMax(x, [0])),
  ],
  Softmax: [
    follows("last axis", [hashed([2, 4])], (x) => ops.softmax(x)),
    follows("middle axis", [hashed([2, 3, 2])], (x) => ops.softmax(x, 1)),
  ],
  Reshape: [follows("with a free axis", [hashed([2, 3])], (x) => x.reshape([3, -1]))],
  Transpose: [follows("a rotation", [hashed([2, 3, 4])], (x) => x.transpose([2, 0, 1]))],
  Expand: [
    follows("an axis of one", [hashed([2, 1])], (x) => x.expand([2, 3])),
    follows("new axes", [hashed([2])], (x) => x.expand([2, 3, 2])),
  ],
  Slice: [
    follows("a middle", [hashed([2, 5])], (x) => x.slice(1, 1, 3)),
    follows("counting from the end", [hashed([5])], (x) => x.slice(0, -3, -1)),
    follows("beyond both ends", [hashed([3])], (x) => x.slice(0, -9, 9)),
    follows("with a step that ends early", [hashed([2, 7])], (x) => x.slice(1, 1, 7, 4)),
    follows("with a step that ends late", [hashed([7, 2])], (x) => x.slice(0, 0, 7, 3)),
    follows("pieces of one tensor", [hashed([2, 6])], (x) =>
      x
        .slice(1, 0, 2)
        .mul(2)
        .add(x.slice(1, 2, 4).mul(3))
        .mul(x.slice(1, 1, 3)),
    ),
  ],
  Concat: [
    follows("first axis", [hashed([1, 2]), hashed([2, 2], 1)], (a, b) => ops.concat([a, b], 0)),
    follows("last axis, one tensor twice", [hashed([2, 1]), hashed([2, 2], 1)], (a, b) =>
      ops.concat([a, b, a], -1),
    ),
  ],
  Pad: [
    follows("with a value", [hashed([2, 3])], (x) => ops.pad(x, [0, 2], [1, 1], "constant", 5)),
    follows("repeating the edge", [hashed([2, 3])], (x) => ops.pad(x, [2, 0], [1, 3], "edge")),
    follows("mirroring", [hashed([2, 4])], (x) => ops.pad(x, [1, 3], [0, 2], "reflect")),
  ],
  Gather: [
    follows("repeated rows", [hashed([3, 2]), i32([2, 2], [2, 0, 2, 2])], (x, i) => ops.gather(x, i)),
    follows("columns", [hashed([2, 3, 2]), i64([2], [2, 2])], (x, i) => ops.gather(x, i, 1)),
    follows("the last axis by a matrix", [hashed([2, 2, 3]), i64([2, 2], [2, 0, 0, 1])], (x, i) =>
      ops.gather(x, i, -1),
    ),
    follows("one row", [hashed([3, 2]), i64([], [1])], (x, i) => ops.gather(x, i)),
    follows("one column", [hashed([2, 3]), i64([], [1])], (x, i) => ops.gather(x, i, 1)),
  ],
  ScatterAdd: [
    follows("repeated rows", [hashed([3, 2]), i64([3, 1], [0, 2, 0]), hashed([3, 2], 1)], ops.scatterAdd),
  ],
  After: [follows("of the first input only", [hashed([2]), hashed([3], 1)], ops.after)],
  Upsample: [
    follows("in two directions", [hashed([1, 2, 2, 3])], (x) => ops.upsample(x, [1, 1, 2, 3])),
    follows("five axes", [hashed([1, 1, 2, 1, 2])], (x) => ops.upsample(x, [1, 1, 2, 1, 3])),
  ],
  MatMul: [
    follows("two matrices", [hashed([2, 3]), hashed([3, 2], 1)], (a, b) => a.matmul(b)),
    ...[false, true].flatMap((transA) =>
      [false, true].map((transB) =>
        follows(
          `transA ${transA}, transB ${transB}`,
          [hashed(transA ? [3, 2] : [2, 3]), hashed(transB ? [2, 3] : [3, 2], 1)],
          (a, b) => a.matmul(b, { transA, transB }),
        ),
      ),
    ),
    ...[false, true].flatMap((transA) =>
      [false, true].map((transB) =>
        follows(
          `a matrix for a batch, transA ${transA}, transB ${transB}`,
          [hashed(transA ? [2, 3, 2] : [2, 2, 3]), hashed(transB ? [2, 3] : [3, 2], 1)],
          (a, b) => a.matmul(b, { transA, transB }),
        ),
      ),
    ),
    follows("batches that broadcast", [hashed([2, 1, 2, 3]), hashed([3, 3, 2], 1)], (a, b) => a.matmul(b)),
    follows("a batch for a matrix", [hashed([2, 3]), hashed([2, 3, 2], 1)], (a, b) => a.matmul(b)),
  ],
  Linear: [
    follows("with bias", [hashed([2, 2, 3]), hashed([4, 3], 1), hashed([4], 2)], ops.linearMap),
    follows("rank 2, no bias", [hashed([2, 3]), hashed([4, 3], 1)], ops.linearMap),
    follows("a vector", [hashed([3]), hashed([2, 3], 1)], ops.linearMap),
  ],
  Conv: [
    follows("one axis", [hashed([2, 2, 6]), hashed([3, 2, 3], 1), hashed([3], 2)], (x, w, b) =>
      ops.conv(x, w, b, { strides: [2], before: [1], after: [1] }),
    ),
    follows("elements no window reaches", [hashed([1, 1, 8]), hashed([1, 1, 2], 1)], (x, w) =>
      ops.conv(x, w, undefined, { strides: [4] }),
    ),
    follows("groups and dilations", [hashed([1, 4, 5, 4]), hashed([4, 2, 2, 2], 1)], (x, w) =>
      ops.conv(x, w, undefined, { groups: 2, dilations: [2, 1], before: [1, 0], after: [0, 1] }),
    ),
    follows("one group per channel", [hashed([2, 3, 4]), hashed([6, 1, 2], 1)], (x, w) =>
      ops.conv(x, w, undefined, { groups: 3 }),
    ),
    follows("three axes", [hashed([1, 2, 3, 3, 3]), hashed([2, 2, 2, 2, 2], 1)], (x, w) =>
      ops.conv(x, w, undefined, { before: [1, 0, 0], strides: [1, 2, 1] }),
    ),
  ],
  ConvTranspose: [
    follows("one axis", [hashed([2, 2, 4]), hashed([2, 3, 3], 1)], (x, w) => ops.convTranspose(x, w)),
    follows("strides, groups, output padding", [hashed([1, 2, 2, 3]), hashed([2, 2, 3, 2], 1)], (x, w) =>
      ops.convTranspose(x, w, {
        strides: [2, 2],
        before: [1, 0],
        after: [1, 1],
        groups: 2,
        outputPadding: [1, 0],
      }),
    ),
  ],
  AveragePool: [
    follows("apart, with a rest", [hashed([1, 2, 5, 3])], (x) => ops.averagePool(x, [2, 2])),
    follows("overlapping", [hashed([2, 1, 5])], (x) => ops.averagePool(x, [3], [1])),
  ],
  LayerNorm: [
    follows("shared", [hashed([2, 2, 4]), hashed([4], 1), hashed([4], 2)], (x, w, b) =>
      ops.layerNorm(x, w, b, 1e-2),
    ),
    follows("a row per sample", [hashed([2, 2, 4]), hashed([2, 1, 4], 1), hashed([2, 1, 4], 2)], (x, w, b) =>
      ops.layerNorm(x, w, b, 1e-2),
    ),
  ],
  RmsNorm: [follows("shared", [hashed([2, 2, 4]), hashed([4], 1)], (x, w) => ops.rmsNorm(x, w, 1e-2))],
  Attention: [
    follows("no bias", [hashed([2, 2, 4]), hashed([2, 3, 4], 1), hashed([2, 3, 4], 2)], (q, k, v) =>
      ops.attention([q, k, v], 2),
    ),
    follows(
      "a bias",
      [hashed([1, 2, 4]), hashed([1, 3, 4], 1), hashed([1, 3, 4], 2), hashed([1, 2, 2, 3], 3)],
      (q, k, v, bias) => ops.attention([q, k, v], 2, { bias, scale: 0.5 }),
    ),
  ],
  Rotary: [
    follows("of x", [hashed([2, 2, 4])], (x) => {
      const rows = (f: (v: number) => number) => constant(Float32Array.from([1, 2, 3, 4], f), [1, 2, 2]);
      return ops.rotary(x, rows(Math.cos), rows(Math.sin), 1);
    }),
  ],
};

let engine: Engine;
beforeAll(() => {
  engine = new Engine({ threads: 1 });
});
afterAll(() => engine.close());

describe.each(Object.entries(cases))("the derivative of %s", (op, list) => {
  test.each(list.map((each) => [each.name, each] as const))("%s", async (_, { feeds, build, stops }) => {
    const inputs = feeds.map((feed, i) => input(`x${i}`, feed.shape, feed.dtype));
    const y = build(...inputs);
    expect(toposort([y]).map((node) => node.op)).toContain(op);
    if (stops) return expect(gradientsOrNull(y, inputs, y)).toEqual(inputs.map(() => null));
    const found = await byRules(engine, build, feeds);
    const expected = await byDifferences(engine, build, feeds);
    expect(Object.keys(found)).toEqual(Object.keys(expected));
    for (const name of Object.keys(found))
      expect(
        relativeError(found[name], expected[name]),
        `${name}: ${found[name]} for ${expected[name]}`,
      ).toBeLessThan(2e-3);
  });
});

test("a convolution in blocks of channels says that it has no derivative", () => {
  const x = input("x", [1, 8, 4, 4]);
  const y = ops.conv(x, input("w", [8, 8, 3, 3]), undefined, { block: 8 });
  expect(() => gradientsOrNull(y, [x], y)).toThrow(ShapeError);
  expect(() => gradientsOrNull(y, [x], y)).toThrow(/blocks of 8 channels has no derivative/);
});
