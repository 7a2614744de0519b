/** @file Derivatives of the operators that work on each element. */
import { dtypes } from "../graph/dtype.ts";
import * as ops from "../graph/functions.ts";
import { attrsOf, type Tensor } from "../graph/tensor.ts";
import { perOperand, type Rules, stop } from "./rule.ts";

export const elementwise = {
  Neg: ({ g }) => [g.neg()],
  Abs: ({ g, x: [x] }) => [g.mul(ops.sign(x))],
  Sign: stop,
  Exp: ({ g, y }) => [g.mul(y)],
  Log: ({ g, x: [x] }) => [g.div(x)],
  Sqrt: ({ g, y }) => [g.mul(0.5).div(y)],
  Reciprocal: ({ g, y }) => [g.mul(y).mul(y).neg()],
  Sin: ({ g, x: [x] }) => [g.mul(ops.cos(x))],
  Cos: ({ g, x: [x] }) => [g.mul(ops.sin(x)).neg()],
  Tanh: ({ g, y }) => [g.sub(g.mul(y).mul(y))],
  Sigmoid: ({ g, y }) => [g.mul(y.sub(y.mul(y)))],
  Floor: stop,
  Round: stop,
  Relu: ({ g, x: [x] }) => [ops.where(ops.greater(x, 0), g, 0)],
  Silu: ({ g, x: [x], y }) => {
    const s = ops.sigmoid(x);
    return [g.mul(s.add(y.sub(y.mul(s))))]; // s + x s (1 - s)
  },
  GeluTanh: ({ g, x: [x], y }) => [g.mul(geluSlope(x, y))],
  Not: stop,
  Cast: ({ g, x: [x] }) => [dtypes[g.dtype].float && dtypes[x.dtype].float ? g.cast(x.dtype) : null],
  Add: (at) =>
    perOperand(
      at,
      () => at.g,
      () => at.g,
    ),
  Sub: (at) =>
    perOperand(
      at,
      () => at.g,
      () => at.g.neg(),
    ),
  Mul: (at) =>
    perOperand(
      at,
      () => at.g.mul(at.x[1]),
      () => at.g.mul(at.x[0]),
    ),
  Div: (at) =>
    perOperand(
      at,
      () => at.g.div(at.x[1]),
      () => at.g.mul(at.y).div(at.x[1]).neg(),
    ),
  Pow: (at) =>
    perOperand(
      at,
      () => at.g.mul(powerSlope(at.x[0], at.x[1])),
      () => at.g.mul(exponentSlope(at.x[0], at.y)),
    ),
  Maximum: (at) =>
    perOperand(
      at,
      () => at.g.mul(share(at.x[0], at.x[1])),
      () => at.g.mul(share(at.x[1], at.x[0])),
    ),
  Minimum: (at) =>
    perOperand(
      at,
      () => at.g.mul(share(at.x[1], at.x[0])),
      () => at.g.mul(share(at.x[0], at.x[1])),
    ),
  Equal: stop,
  Less: stop,
  Greater: stop,
  Where: (at) =>
    perOperand(
      at,
      () => at.g, // never asked for: conditions are not floating-point
      () => ops.where(at.x[0], at.g, 0),
      () => ops.where(ops.not(at.x[0]), at.g, 0),
    ),
} satisfies Rules;

/** With s = σ(2u), u = √(2/π) (x + 0.044715 x³), the function is x s; its slope is s + x s (1 - s) · 2u'. */
function geluSlope(x: Tensor, y: Tensor): Tensor {
  const linear = 2 * Math.sqrt(2 / Math.PI);
  const cubic = linear * 0.044715;
  const square = x.mul(x);
  const s = ops.sigmoid(x.mul(square.mul(cubic).add(linear)));
  return s.add(y.sub(y.mul(s)).mul(square.mul(3 * cubic).add(linear)));
}

/** p xᵖ⁻¹, and 0 for p = 0 even at x = 0. */
function powerSlope(x: Tensor, p: Tensor): Tensor {
  const known = numberIn(p);
  if (known === 2) return x.mul(2);
  if (known !== null && known !== 0) return ops.pow(x, known - 1).mul(known);
  return ops.where(ops.not(ops.equal(p, 0)), p.mul(ops.pow(x, p.sub(1))), 0);
}

/** xᵖ log x where x is positive, 0 elsewhere: the limit at 0, and no real derivative exists below. */
function exponentSlope(x: Tensor, y: Tensor): Tensor {
  return y.mul(ops.where(ops.greater(x, 0), ops.log(x), 0));
}

/** The value of a scalar constant, null for anything else. */
function numberIn(x: Tensor): number | null {
  if (x.op === "Cast") return numberIn(x.inputs[0]);
  if (x.op !== "Constant" || x.shape.length > 0) return null;
  return Number(attrsOf(x, "Constant").data[0]);
}

/** 1 where `a` wins over `b`, a half where they are equal. */
function share(a: Tensor, b: Tensor): Tensor {
  const wins = ops.greater(a, b).cast(a.dtype);
  return wins.add(ops.equal(a, b).cast(a.dtype).mul(0.5));
}
