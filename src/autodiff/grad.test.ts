/** @file The reverse walk: what reaches what, sums, seeds, second derivatives, and how gradients look. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type Build,
  byDifferences,
  byRules,
  relativeError,
  runModel,
} from "../../test/helpers/central-differences.ts";
import { f32, hashed } from "../../test/helpers/host-tensor.ts";
import { ShapeError } from "../errors.ts";
import * as ops from "../graph/functions.ts";
import { toOnnx } from "../graph/onnx.ts";
import { printGraph } from "../graph/print.ts";
import { emit, input, type Tensor, toposort, withScope } from "../graph/tensor.ts";
import { Engine } from "../runtime/engine.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import { gradients, gradientsOrNull, unreached } from "./grad.ts";

let engine: Engine;
beforeAll(() => {
  engine = new Engine({ threads: 1 });
});
afterAll(() => engine.close());

const run = (outputs: Record<string, Tensor>, feeds: Record<string, HostTensor>) =>
  runModel(engine, toOnnx(outputs), feeds);

const param = (key: string, shape: readonly number[]) => emit("Param", [], { key, shape });

describe("gradients", () => {
  test("add up where a tensor has several users", async () => {
    const x = input("x", [2]);
    const square = x.mul(x);
    const loss = square.mul(x).add(square).add(x).sum([0]); // x³ + x² + x
    const [g] = gradients(loss, [x]);
    expect((await run({ g }, { x: f32([2], [2, -1]) })).g).toEqual([17, 2]);
  });

  test("pass each shared node once, however many paths lead through it", () => {
    const x = input("x", [2]);
    let y = x;
    for (let i = 0; i < 40; i++) y = y.add(y); // 2⁴⁰ paths
    expect(toposort(gradients(y.sum([0]), [x])).length).toBeLessThan(100);
  });

  test("are taken of inner nodes and of tensors that depend on each other", async () => {
    const x = input("x", [2]);
    const inner = x.mul(3);
    const [gx, gInner] = gradients(inner.mul(inner).sum([0]), [x, inner]);
    const found = await run({ gx, gInner }, { x: f32([2], [1, 2]) });
    expect(found).toEqual({ gx: [18, 36], gInner: [6, 12] });
  });

  test("of a tensor to itself are the seed", () => {
    const x = input("x", [2, 3]);
    const seed = input("seed", [2, 3]);
    expect(gradients(x, [x], seed)).toEqual([seed]);
  });

  test("take a loss of one element without a seed", async () => {
    const x = input("x", [1, 1]);
    const [g] = gradients(x.mul(5), [x]);
    expect(g.shape).toEqual([1, 1]);
    expect((await run({ g: g.add(x.mul(0)) }, { x: f32([1, 1], [9]) })).g).toEqual([5]);
  });

  test("refuse a loss of several elements without a seed, and a seed that does not fit", () => {
    const x = input("x", [2, 3]);
    expect(() => gradients(x, [x])).toThrow(ShapeError);
    expect(() => gradients(x, [x])).toThrow(
      "the gradient of [2, 3] needs a seed of that shape; without one the loss must have one element",
    );
    expect(() => gradients(x, [x], input("seed", [3, 2]))).toThrow(
      "the seed must be f32[2, 3] like the loss, got f32[3, 2]",
    );
  });

  test("are zeros, or null if asked, for what the loss does not depend on", async () => {
    const [x, other] = [input("x", [2]), input("other", [1, 3])];
    const [, zeros] = gradients(x.sum([0]), [x, other]);
    expect((await run({ zeros }, {})).zeros).toEqual([0, 0, 0]);
    expect(zeros.shape).toEqual([1, 3]);
    expect(gradientsOrNull(x.sum([0]), [x, other])[1]).toBeNull();
  });

  test("never reach integers", () => {
    const ids = input("ids", [2], "i32");
    const y = ops.gather(input("table", [3, 2]), ids);
    expect(gradientsOrNull(y, [ids], y)).toEqual([null]);
  });

  test("go through float16 and come back in the type of each input", async () => {
    const x = input("x", [2]);
    const [g] = gradients(x.cast("f16").mul(3).cast("f32").sum([0]), [x]);
    expect(g.dtype).toBe("f32");
    expect((await run({ g: g.add(x.mul(0)) }, { x: f32([2], [1, 2]) })).g).toEqual([3, 3]);
  });

  test("have the names of the scopes they differentiate", () => {
    const x = input("x", [2]);
    const y = withScope("block.0", () => ops.tanh(x));
    const [g] = gradients(y.sum([0]), [x]);
    expect(g.path).toBe("block.0/grad");
    const [again] = gradients(g.sum([0]), [x]);
    expect(new Set(toposort([again]).map((node) => node.path))).not.toContain("block.0/grad/grad");
  });
});

describe("unreached", () => {
  test("lists parameters that are declared and get no gradient", () => {
    const params = new Map(["used", "forgotten", "behind a step"].map((key) => [key, param(key, [2])]));
    const loss = input("x", [2])
      .mul(params.get("used")!)
      .add(ops.round(params.get("behind a step")!));
    expect(unreached(loss, params)).toEqual(["forgotten", "behind a step"]);
  });

  test("is empty when all are used", () => {
    const params = new Map([["w", param("w", [4, 2])]]);
    expect(unreached(ops.linearMap(input("x", [3, 2]), params.get("w")!), params)).toEqual([]);
  });
});

describe("second derivatives", () => {
  const cases: Readonly<Record<string, readonly [build: Build, ...feeds: HostTensor[]]>> = {
    tanh: [(x) => gradients(ops.tanh(x).sum([0]), [x])[0], hashed([4])],
    "layer norm": [
      (x, w, b) => gradients(ops.pow(ops.layerNorm(x, w, b, 0.1), 3).sum([0, 1]), [x])[0],
      hashed([2, 4]),
      hashed([4], 1),
      hashed([4], 2),
    ],
    convolution: [
      (x, w) => gradients(ops.pow(ops.conv(x, w, undefined, { strides: [2] }), 2).sum([0, 1, 2]), [w])[0],
      hashed([1, 2, 6]),
      hashed([2, 2, 3], 1),
    ],
    attention: [
      (q, k, v) => gradients(ops.pow(ops.attention([q, k, v], 2), 2).sum([0, 1, 2]), [q])[0],
      hashed([1, 2, 4]),
      hashed([1, 3, 4], 1),
      hashed([1, 3, 4], 2),
    ],
  };

  test.each(Object.entries(cases))("of %s", async (_, [build, ...feeds]) => {
    const [found, expected] = [
      await byRules(engine, build, feeds),
      await byDifferences(engine, build, feeds),
    ];
    for (const name of Object.keys(expected))
      expect(relativeError(found[name], expected[name]), name).toBeLessThan(3e-3);
  });
});

describe("the graph of a gradient", () => {
  test("of a linear map holds one product per operand", () => {
    const [x, w] = [input("x", [2, 5, 3]), param("w", [4, 3])];
    const y = ops.linearMap(x, w);
    const [gx, gw] = gradients(y, [x, w], input("g", y.shape));
    expect(printGraph({ gx, gw })).toMatchInlineSnapshot(`
      "%0 = Input(){name="g"} f32[2, 5, 4]
      %1 = Reshape(%0) f32[10, 4] @ grad
      %2 = Param(){key="w"} f32[4, 3]
      %3 = MatMul(%1, %2){transA=false, transB=false} f32[10, 3] @ grad
      %4 = Reshape(%3) f32[2, 5, 3] @ grad
      %5 = Input(){name="x"} f32[2, 5, 3]
      %6 = Reshape(%5) f32[10, 3] @ grad
      %7 = MatMul(%1, %6){transA=true, transB=false} f32[4, 3] @ grad
      return gx = %4, gw = %7"
    `);
  });

  test("of a tensor in pieces lays their gradients side by side", () => {
    const x = input("x", [8, 2]);
    const y = ops
      .tanh(x.slice(0, 0, 3))
      .sum([0, 1])
      .add(ops.exp(x.slice(0, 3, 6)).sum([0, 1]));
    expect(printGraph({ g: gradients(y, [x])[0] })).toMatchInlineSnapshot(`
      "%0 = Constant(){data=1} f32[]
      %1 = Reshape(%0) f32[1, 1] @ grad
      %2 = Expand(%1) f32[3, 2] @ grad
      %3 = Input(){name="x"} f32[8, 2]
      %4 = Slice(%3){axis=0, start=0, end=3, step=1} f32[3, 2]
      %5 = Tanh(%4) f32[3, 2]
      %6 = Mul(%2, %5) f32[3, 2] @ grad
      %7 = Mul(%6, %5) f32[3, 2] @ grad
      %8 = Sub(%2, %7) f32[3, 2] @ grad
      %9 = Reshape(%0) f32[1, 1] @ grad
      %10 = Expand(%9) f32[3, 2] @ grad
      %11 = Slice(%3){axis=0, start=3, end=6, step=1} f32[3, 2]
      %12 = Exp(%11) f32[3, 2]
      %13 = Mul(%10, %12) f32[3, 2] @ grad
      %14 = Constant(){data=0} f32[] @ grad
      %15 = Expand(%14) f32[2, 2] @ grad
      %16 = Concat(%8, %13, %15){axis=0} f32[8, 2] @ grad
      return g = %16"
    `);
  });

  test("leaves out what nobody asks for", () => {
    const [x, scale] = [input("x", [2, 3]), param("scale", [3])];
    const y = ops.silu(x).mul(scale);
    const [g] = gradients(y, [scale], input("g", y.shape));
    expect(printGraph({ g })).toMatchInlineSnapshot(`
      "%0 = Input(){name="g"} f32[2, 3]
      %1 = Input(){name="x"} f32[2, 3]
      %2 = Silu(%1) f32[2, 3]
      %3 = Mul(%0, %2) f32[2, 3] @ grad
      %4 = Sum(%3){axes=[0], keepDims=false} f32[3] @ grad
      %5 = Reshape(%4) f32[3] @ grad
      return g = %5"
    `);
  });
});
