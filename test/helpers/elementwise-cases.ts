/** @file Cases of the operators that work on each element. */
import * as ops from "../../src/graph/functions.ts";
import type { Op } from "../../src/graph/ops.ts";
import { bool, f32, i32 } from "./host-tensor.ts";
import { binary, type CaseTable, comparison, computed, fromTorch, unary, withScalar } from "./op-case.ts";

export const elementwise = {
  Neg: [
    unary(
      (x) => x.neg(),
      (v) => -v,
    ),
    computed("of int32", [i32([2], [5, -6])], (x) => x.neg(), [2], [-5, 6]),
  ],
  Abs: [unary(ops.abs, Math.abs)],
  Sign: [unary(ops.sign, Math.sign)],
  Exp: [unary(ops.exp, Math.exp)],
  Log: [unary(ops.log, Math.log, [0.1, 1, 2.5])],
  Sqrt: [unary(ops.sqrt, Math.sqrt, [0, 0.25, 9])],
  Reciprocal: [unary(ops.reciprocal, (v) => 1 / v, [-4, 0.5, 3])],
  Sin: [unary(ops.sin, Math.sin)],
  Cos: [unary(ops.cos, Math.cos)],
  Tanh: [unary(ops.tanh, Math.tanh)],
  Sigmoid: [unary(ops.sigmoid, (v) => 1 / (1 + Math.exp(-v)))],
  Floor: [unary(ops.floor, Math.floor)],
  Round: [
    computed("halves go to even", [f32([5], [-1.5, -0.5, 0.5, 1.5, 2.4])], ops.round, [5], [-2, -0, 0, 2, 2]),
  ],
  Relu: [unary(ops.relu, (v) => Math.max(v, 0))],
  Silu: [fromTorch("silu", ops.silu)],
  GeluTanh: [fromTorch("geluTanh", ops.geluTanh)],
  Not: [computed("of bool", [bool([2], [1, 0])], ops.not, [2], [0, 1])],
  Cast: [
    computed("float to int truncates", [f32([3], [-1.7, 0.2, 2.9])], (x) => x.cast("i32"), [3], [-1, 0, 2]),
    computed(
      "through float16",
      [f32([2], [0.1, 1])],
      (x) => x.cast("f16").cast("f32"),
      [2],
      [0.0999755859375, 1],
    ),
    computed(
      "through bfloat16",
      [f32([2], [1.01, 3])],
      (x) => x.cast("bf16").cast("f32"),
      [2],
      [1.0078125, 3],
    ),
    computed("to int64", [i32([2], [-3, 4])], (x) => x.cast("i64"), [2], [-3, 4]),
    computed("to bool", [f32([3], [0, -1, 2])], (x) => x.cast("bool"), [3], [0, 1, 1]),
    computed("from bool", [bool([2], [1, 0])], (x) => x.cast("f32"), [2], [1, 0]),
    computed("to int8", [i32([2], [-100, 100])], (x) => x.cast("i8"), [2], [-100, 100]),
    computed("to uint8", [i32([2], [0, 200])], (x) => x.cast("u8"), [2], [0, 200]),
  ],
  Add: [
    ...binary(
      (a, b) => a.add(b),
      (a, b) => a + b,
    ),
    withScalar(
      (x) => x.add(2),
      (v) => v + 2,
    ),
  ],
  Sub: [
    ...binary(
      (a, b) => a.sub(b),
      (a, b) => a - b,
    ),
    withScalar(
      (x) => x.sub(2),
      (v) => v - 2,
    ),
  ],
  Mul: [
    ...binary(
      (a, b) => a.mul(b),
      (a, b) => a * b,
    ),
    withScalar(
      (x) => x.mul(-3),
      (v) => v * -3,
    ),
  ],
  Div: [
    computed(
      "rows by a column",
      [f32([2, 2], [1, 2, 3, 4]), f32([2, 1], [2, 4])],
      (a, b) => a.div(b),
      [2, 2],
      [0.5, 1, 0.75, 1],
    ),
    computed("int32 truncates", [i32([2], [7, -7]), i32([], [2])], (a, b) => a.div(b), [2], [3, -3]),
  ],
  Pow: [
    unary(
      (x) => ops.pow(x, 3),
      (v) => v ** 3,
    ),
    computed("by a tensor", [f32([2], [2, 9]), f32([2], [-1, 0.5])], ops.pow, [2], [0.5, 3]),
  ],
  Maximum: [...binary(ops.maximum, Math.max)],
  Minimum: [...binary(ops.minimum, Math.min)],
  Equal: [
    ...comparison(ops.equal, (a, b) => a === b),
    computed("of bool", [bool([2], [1, 0]), bool([2], [1, 1])], ops.equal, [2], [1, 0]),
  ],
  Less: comparison(ops.less, (a, b) => a < b),
  Greater: comparison(ops.greater, (a, b) => a > b),
  Where: [
    computed(
      "broadcasts all three",
      [bool([2, 1], [1, 0]), f32([3], [1, 2, 3]), f32([], [9])],
      ops.where,
      [2, 3],
      [1, 2, 3, 9, 9, 9],
    ),
    computed("of int32", [bool([2], [1, 0]), i32([2], [1, 2])], (c, x) => ops.where(c, x, -1), [2], [1, -1]),
  ],
} satisfies Partial<CaseTable<Op>>;
