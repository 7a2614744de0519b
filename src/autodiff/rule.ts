/** @file What a derivative rule is given and returns, and the moves that many rules share. */
import type { Op, OpAttrs } from "../graph/ops.ts";
import { type Shape, sameShape } from "../graph/shape.ts";
import { scalar, type Tensor } from "../graph/tensor.ts";

/** A node and the gradient that arrived at its output. */
export type Backward<O extends Op> = {
  /** Gradient of the loss with respect to `y`, of its shape and type. */
  readonly g: Tensor;
  readonly x: readonly Tensor[];
  /** The node itself, so that a rule may use its value again. */
  readonly y: Tensor;
  readonly attrs: OpAttrs[O];
  /** Whether anybody asks for the gradient of each input; a rule need not compute the others. */
  readonly needs: readonly boolean[];
};

/** A gradient per input, of the input's shape and type; null, or an entry left out, where there is none. */
export type Gradients = readonly (Tensor | null | undefined)[];

/** Vector-Jacobian product of one operator, written in operators of the graph. */
export type VjpRule<O extends Op> = (backward: Backward<O>) => Gradients;

/** Rules for some of the operators. */
export type Rules = { readonly [O in Op]?: VjpRule<O> };

/** For leaves, comparisons and steps: no gradient passes. */
export const stop = (): Gradients => [];

/** Undoes broadcasting: sums `g` over the axes along which an operand of `shape` was repeated. */
export function unbroadcast(g: Tensor, shape: Shape): Tensor {
  if (sameShape(g.shape, shape)) return g;
  const extra = g.shape.length - shape.length;
  const repeated = g.shape.flatMap((d, i) => (i < extra || (shape[i - extra] === 1 && d !== 1) ? [i] : []));
  return repeated.length === 0 ? g.reshape(shape) : g.sum(repeated).reshape(shape);
}

/** `unbroadcast` for each operand that needs a gradient; `terms` are built only when they are needed. */
export function perOperand(
  { x, needs }: Pick<Backward<Op>, "x" | "needs">,
  ...terms: readonly (() => Tensor)[]
): Gradients {
  return terms.map((term, i) => (needs[i] ? unbroadcast(term(), x[i].shape) : null));
}

/** Zeros like `x`. */
export function zerosLike({ shape, dtype }: Pick<Tensor, "shape" | "dtype">): Tensor {
  return filled(0, shape, dtype);
}

/** One value everywhere. */
export function filled(value: number, shape: Shape, dtype: Tensor["dtype"]): Tensor {
  const one = scalar(value, dtype);
  return shape.length === 0 ? one : one.expand(shape);
}

/** Axes 0 to `rank` - 1 with `axis` moved to the front. */
export function toFront(axis: number, rank: number): number[] {
  return [axis, ...Array.from({ length: rank }, (_, i) => i).filter((i) => i !== axis)];
}

/** The permutation that undoes `perm`. */
export function inverse(perm: readonly number[]): number[] {
  const result: number[] = Array(perm.length);
  perm.forEach((from, to) => {
    result[from] = to;
  });
  return result;
}
