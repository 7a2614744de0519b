/** @file What the clean-up of a graph does, shown as listings. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { counting, numbers } from "../../test/helpers/host-tensor.ts";
import { runGraph } from "../../test/helpers/run-graph.ts";
import { Engine } from "../runtime/engine.ts";
import { exp, pad, silu } from "./functions.ts";
import { printGraph } from "./print.ts";
import { simplify } from "./rewrite.ts";
import { constant, emit, input, type Tensor, withScope } from "./tensor.ts";

const listing = (y: Tensor): string => printGraph(simplify({ y }));

describe("simplify", () => {
  test("computes what is written twice once", () => {
    const x = input("x", [2]);
    expect(listing(exp(x).add(1).mul(exp(x).add(1)))).toMatchInlineSnapshot(`
      "%0 = Input(){name="x"} f32[2]
      %1 = Exp(%0) f32[2]
      %2 = Constant(){data=1} f32[]
      %3 = Add(%1, %2) f32[2]
      %4 = Mul(%3, %3) f32[2]
      return y = %4"
    `);
  });

  test("keeps nodes apart that differ in an attribute, a type or a constant", () => {
    const x = input("x", [2, 3]);
    const parts = [x.sum([0]), x.sum([0], true), x.add(1).sum([0]), x.add(2).sum([0])];
    expect(listing(parts.reduce((a, b) => a.add(b)))).toMatchInlineSnapshot(`
      "%0 = Input(){name="x"} f32[2, 3]
      %1 = Sum(%0){axes=[0], keepDims=false} f32[3]
      %2 = Sum(%0){axes=[0], keepDims=true} f32[1, 3]
      %3 = Add(%1, %2) f32[1, 3]
      %4 = Constant(){data=1} f32[]
      %5 = Add(%0, %4) f32[2, 3]
      %6 = Sum(%5){axes=[0], keepDims=false} f32[3]
      %7 = Add(%3, %6) f32[1, 3]
      %8 = Constant(){data=2} f32[]
      %9 = Add(%0, %8) f32[2, 3]
      %10 = Sum(%9){axes=[0], keepDims=false} f32[3]
      %11 = Add(%7, %10) f32[1, 3]
      return y = %11"
    `);
  });

  test("takes chains of reshapes as one", () => {
    const x = input("x", [2, 6]);
    expect(listing(x.reshape([3, 4]).reshape([12]).reshape([4, 3]))).toMatchInlineSnapshot(`
      "%0 = Input(){name="x"} f32[2, 6]
      %1 = Reshape(%0) f32[4, 3]
      return y = %1"
    `);
  });

  test("leaves out floats that are widened and narrowed again, and keeps those that are rounded", () => {
    const x = input("x", [2], "f16");
    expect(listing(x.cast("f32").cast("f16").cast("f32").cast("bf16").cast("f32"))).toMatchInlineSnapshot(`
      "%0 = Input(){name="x"} f16[2]
      %1 = Cast(%0){to="f32"} f32[2]
      %2 = Cast(%1){to="bf16"} bf16[2]
      %3 = Cast(%2){to="f32"} f32[2]
      return y = %3"
    `);
  });

  test("takes chains of transposes as one", () => {
    const x = input("x", [2, 3, 4]);
    const y = withScope("turn", () => x.transpose([1, 2, 0]).transpose([2, 1, 0]));
    expect(listing(y)).toMatchInlineSnapshot(`
      "%0 = Input(){name="x"} f32[2, 3, 4]
      %1 = Transpose(%0){perm=[0,2,1]} f32[2, 4, 3] @ turn
      return y = %1"
    `);
  });

  test("removes movements that move nothing", () => {
    const x = input("x", [2, 3]);
    const back = x.transpose([1, 0]).transpose([1, 0]).reshape([6]).reshape([2, 3]);
    const same = emit("Cast", [back.expand([2, 3]).transpose([0, 1])], { to: "f32" });
    expect(listing(silu(same))).toMatchInlineSnapshot(`
      "%0 = Input(){name="x"} f32[2, 3]
      %1 = Silu(%0) f32[2, 3]
      return y = %1"
    `);
  });

  test("keeps a chain's inner part where something else needs it", () => {
    const x = input("x", [2, 3]);
    const inner = x.reshape([6]);
    expect(listing(inner.reshape([3, 2]).mul(inner.sum([0])))).toMatchInlineSnapshot(`
      "%0 = Input(){name="x"} f32[2, 3]
      %1 = Reshape(%0) f32[3, 2]
      %2 = Reshape(%0) f32[6]
      %3 = Sum(%2){axes=[0], keepDims=false} f32[]
      %4 = Mul(%1, %3) f32[3, 2]
      return y = %4"
    `);
  });

  test("does not confuse constants that look alike in another type", () => {
    const x = input("x", [2], "i32");
    const one = constant(Int32Array.of(0), [], "i32");
    const other = constant(Int32Array.of(0), [1], "i32");
    expect(listing(x.add(one).add(other))).toMatchInlineSnapshot(`
      "%0 = Input(){name="x"} i32[2]
      %1 = Constant(){data=0} i32[]
      %2 = Add(%0, %1) i32[2]
      %3 = Constant(){data=0} i32[1]
      %4 = Add(%2, %3) i32[2]
      return y = %4"
    `);
  });

  test("keeps apart what is padded with different infinities", () => {
    const x = input("x", [2]);
    const padded = (value: number) => pad(x, [1], [0], "constant", value);
    const { y } = simplify({ y: padded(Number.POSITIVE_INFINITY).add(padded(Number.NEGATIVE_INFINITY)) });
    expect(y.inputs[0]).not.toBe(y.inputs[1]);
  });

  test("compares large constants by the array they lie in", () => {
    const x = input("x", [100]);
    const table = new Float32Array(100);
    const shared = simplify({ y: x.add(constant(table, [100])).mul(x.add(constant(table, [100]))) }).y;
    const apart = simplify({ y: x.add(constant(table.slice(), [100])).mul(x.add(constant(table, [100]))) }).y;
    expect(shared.inputs[0]).toBe(shared.inputs[1]);
    expect(apart.inputs[0]).not.toBe(apart.inputs[1]);
  });

  test("leaves scopes as they are and outputs under their names", () => {
    const x = input("x", [2]);
    const y = withScope("first", () => exp(x));
    const z = withScope("second", () => exp(x).reshape([2]).neg());
    expect(printGraph(simplify({ y, z }))).toMatchInlineSnapshot(`
      "%0 = Input(){name="x"} f32[2]
      %1 = Exp(%0) f32[2] @ first
      %2 = Neg(%1) f32[2] @ second
      return y = %1, z = %2"
    `);
  });
});

describe("a simplified graph", () => {
  let engine: Engine;
  beforeAll(() => {
    engine = new Engine({ threads: 1 });
  });
  afterAll(() => engine.close());

  test("computes the same", async () => {
    const build = (x: Tensor) => {
      const turned = x.transpose([2, 0, 1]).transpose([0, 2, 1]).reshape([4, 6]).reshape([2, 12]);
      return turned.add(turned.mul(turned)).add(x.transpose([2, 0, 1]).reshape([2, 12]));
    };
    const feeds = [counting([2, 3, 4])];
    const plain = await runGraph(engine, build, feeds);
    const simple = await runGraph(engine, (x) => simplify({ y: build(x) }).y, feeds);
    expect(numbers(simple)).toEqual(numbers(plain));
  });
});
