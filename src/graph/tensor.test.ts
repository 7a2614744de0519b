/** @file Nodes: their types, their names and what is said when they do not fit. */
import { describe, expect, test } from "vitest";
import { ShapeError } from "../errors.ts";
import * as ops from "./functions.ts";
import { attrsOf, input, scalar, type Tensor, toposort, withScope } from "./tensor.ts";

describe("an operator whose inputs do not fit", () => {
  test("names the operator, the scope and the shapes of all inputs", () => {
    const build = () => withScope("blocks.3.ff", () => input("a", [2, 3]).add(input("b", [4])));
    expect(build).toThrow(
      new ShapeError("Add in blocks.3.ff: cannot broadcast [2, 3] with [4]; inputs [2, 3], [4]"),
    );
  });

  test("leaves the scope out where there is none", () => {
    expect(() => input("a", [2, 3]).reshape([5])).toThrow(/^Reshape: cannot reshape \[2, 3\]/);
  });

  const [x, row, ids] = [input("x", [2, 4, 6]), input("row", [6]), input("ids", [2], "i32")];
  test.each<[string, () => Tensor]>([
    ["operands must have one type, got f32 and i32", () => x.add(ids)],
    ["the condition of Where must be bool, got f32", () => ops.where(x, x, x)],
    ["axis 3 is outside a tensor of rank 3", () => ops.softmax(x, 3)],
    ["axis -4 is outside", () => x.sum([-4])],
    ["[0, 0, 1] is not a permutation of the axes of [2, 4, 6]", () => x.transpose([0, 0, 1])],
    ["[1, 0] is not a permutation", () => x.transpose([1, 0])],
    ["Expand: cannot broadcast [6] with [5]", () => row.expand([5])],
    ["cannot expand [2, 4, 6] to [6]", () => x.expand([6])],
    ["slice 4:2:1 of axis 0 of [6] is empty", () => row.slice(0, 4, 2)],
    ["cannot concatenate [2, 4, 6], [6] on axis 0", () => ops.concat([x, row], 0)],
    ["cannot concatenate [6], [2] on axis 0", () => ops.concat([row, ids], 0)],
    ["padding [1] and [0] must name every axis of [2, 4, 6]", () => ops.pad(x, [1], [0])],
    ["Gather needs integer indices, got f32", () => ops.gather(x, row)],
    ["updates must be [2, 4, 6]", () => ops.scatterAdd(x, input("at", [2, 1], "i64"), row)],
    ["needs one scale per axis", () => ops.upsample(x, [2])],
    ["cannot multiply [2, 4, 6] by [2, 4, 6]: 6 is not 4", () => x.matmul(x)],
    ["a matrix product needs two axes or more, got [6]", () => x.matmul(row)],
    ["a linear map of width 5 cannot take [2, 4, 6]", () => ops.linearMap(x, input("w", [3, 5]))],
    ["bias must be [3], got [6]", () => ops.linearMap(x, input("w", [3, 6]), row)],
    ["a convolution from 3 channels cannot take [2, 4, 6]", () => ops.conv(x, input("w", [8, 3, 1]))],
    ["a 2-D window cannot slide over [6]", () => ops.conv(x, input("w", [8, 4, 1, 1]))],
    [
      "a transposed convolution from 3 channels cannot take",
      () => ops.convTranspose(x, input("w", [3, 8, 1])),
    ],
    ["over the last axis of [2, 4, 6] cannot be [4]", () => ops.rmsNorm(x, input("scale", [4]), 1e-6)],
    ["width 6 is not divisible by 4 heads", () => ops.attention([x, x, x], 4)],
    ["attention takes [B, S, D] three times", () => ops.attention([x, x, row], 2)],
    ["rotary rows for [2, 4, 6] must be [1 or 2, 4, 1]", () => ops.rotary(x, x, x, 3)],
    [
      "must be [1 or 2, 4, 1], got [3, 4, 1]",
      () => ops.rotary(x, input("c", [3, 4, 1]), input("s", [3, 4, 1]), 3),
    ],
  ])("says that %s", (message, build) => {
    expect(build).toThrow(ShapeError);
    expect(build).toThrow(message);
  });
});

describe("scopes", () => {
  test("nest and end, also when building fails", () => {
    const paths = withScope("a", () => {
      const outer = input("x", []).path;
      const inner = withScope("b", () => input("x", []).path);
      expect(() => withScope("c", () => input("x", [2]).reshape([3]))).toThrow("in c");
      return [outer, inner, input("x", []).path];
    });
    expect(paths).toEqual(["a", "b", "a"]);
    expect(input("x", []).path).toBe("");
  });
});

describe("numbers as operands", () => {
  test("take the type of the tensor they meet", () => {
    expect(input("x", [2], "i64").add(1).dtype).toBe("i64");
    expect(input("x", [2], "i32").mul(2).dtype).toBe("i32");
    expect(scalar(1, "f16").dtype).toBe("f16");
  });
});

describe("attention", () => {
  const x = input("x", [2, 3, 8]);

  test.each([[[1, 1, 3, 3]], [[2, 4, 3, 3]], [[2, 1, 1, 3]]])("takes a bias %j", (shape) => {
    expect(ops.attention([x, x, x], 4, { bias: input("bias", shape) }).shape).toEqual([2, 3, 8]);
  });

  test.each([[[3, 3]], [[3, 4, 3, 3]], [[1, 2, 3, 3]], [[1, 4, 3, 5]]])("refuses a bias %j", (shape) => {
    expect(() => ops.attention([x, x, x], 4, { bias: input("bias", shape) })).toThrow(
      `attention bias must broadcast to [2, 4, 3, 3], got [${shape.join(", ")}]`,
    );
  });

  test("refuses another batch of keys", () => {
    const k = input("k", [1, 5, 8]);
    expect(() => ops.attention([x, k, k], 4)).toThrow(
      "attention takes [B, S, D] three times, got [2, 3, 8], [1, 5, 8], [1, 5, 8]",
    );
  });
});

describe("toposort", () => {
  test("puts inputs before users and every node once", () => {
    const x = input("x", [2]);
    const y = ops.exp(x);
    const z = y.add(x).mul(y);
    const order = toposort([z, y]);
    expect(order.map((node) => node.op)).toEqual(["Input", "Exp", "Add", "Mul"]);
    expect(new Set(order).size).toBe(order.length);
    for (const node of order)
      for (const operand of node.inputs) expect(order.indexOf(operand)).toBeLessThan(order.indexOf(node));
  });

  test("leaves out what no output needs", () => {
    const x = input("x", [2]);
    ops.exp(x);
    expect(toposort([x])).toEqual([x]);
  });

  test("takes a node that two outputs and two paths share once", () => {
    const x = input("x", []);
    let y: Tensor = x;
    for (let i = 0; i < 40; i++) y = y.add(y);
    expect(toposort([y, y, x])).toHaveLength(41);
  });

  test("walks chains that are deeper than the call stack", () => {
    let y: Tensor = input("x", []);
    for (let i = 0; i < 50_000; i++) y = y.neg();
    expect(toposort([y])).toHaveLength(50_001);
  });
});

test("attributes are only handed out for the operator they belong to", () => {
  const x = withScope("here", () => input("x", [2]));
  expect(attrsOf(x, "Input")).toEqual({ name: "x", shape: [2], dtype: "f32" });
  expect(() => attrsOf(x, "Param")).toThrow("expected a node Param, got Input in here");
});
