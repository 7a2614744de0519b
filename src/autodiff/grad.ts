/** @file Reverse-mode differentiation: the gradients of a graph's scalar are another graph. */
import { ShapeError } from "../errors.ts";
import { dtypes } from "../graph/dtype.ts";
import type { Op } from "../graph/ops.ts";
import { sameShape, showShape, sizeOf } from "../graph/shape.ts";
import { type Tensor, toposort, withScope } from "../graph/tensor.ts";
import { addUp } from "./add-up.ts";
import { filled, type VjpRule, zerosLike } from "./rule.ts";
import { vjp } from "./vjp.ts";

/**
 * Gradients of `loss` with respect to each of `wrt`, of their shapes; zeros for those that the loss does not depend on.
 * With a `seed` of the loss' shape the loss may have any shape: the gradients are then those of Σ seed · loss.
 * Nodes are made in the scope of the node they differentiate, with `/grad` behind it.
 * @throws ShapeError when the loss has several elements and there is no seed, or the seed does not fit
 */
export function gradients(loss: Tensor, wrt: readonly Tensor[], seed?: Tensor): Tensor[] {
  return gradientsOrNull(loss, wrt, seed).map((gradient, i) => gradient ?? zerosLike(wrt[i]));
}

/** As `gradients`, with null in place of zeros where no gradient arrives. */
export function gradientsOrNull(loss: Tensor, wrt: readonly Tensor[], seed?: Tensor): (Tensor | null)[] {
  return gradientsOfAll([{ y: loss, seed }], wrt);
}

/** As `gradientsOrNull`, of a sum over several tensors, each with a seed of its own. */
export function gradientsOfAll(
  from: readonly { readonly y: Tensor; readonly seed?: Tensor }[],
  wrt: readonly Tensor[],
): (Tensor | null)[] {
  const order = toposort(from.map(({ y }) => y));
  const needed = nodesTowards(order, wrt);
  const arrived = new Map<Tensor, Tensor[]>();
  for (const { y, seed } of from) arrived.set(y, [...(arrived.get(y) ?? []), seedFor(y, seed)]);
  const totals = new Map<Tensor, Tensor>();
  for (const node of order.toReversed()) {
    const parts = arrived.get(node);
    if (parts === undefined) continue;
    arrived.delete(node);
    withScope(gradientPath(node), () => {
      const g = addUp(parts);
      totals.set(node, g);
      passOn(node, g, needed, arrived);
    });
  }
  return wrt.map((x) => totals.get(x) ?? null);
}

/** Keys of the parameters that `loss` sends no gradient to: not used, or used only where no gradient passes. */
export function unreached(loss: Tensor, params: ReadonlyMap<string, Tensor>): string[] {
  const found = gradientsOrNull(loss, [...params.values()], zerosLike(loss));
  return [...params.keys()].filter((_, i) => found[i] === null);
}

/** Every node through which a change of one of `wrt` reaches the last node of `order`, as far as types tell. */
function nodesTowards(order: readonly Tensor[], wrt: readonly Tensor[]): Set<Tensor> {
  const needed = new Set(wrt.filter((x) => dtypes[x.dtype].float));
  for (const node of order)
    if (dtypes[node.dtype].float && node.inputs.some((x) => needed.has(x))) needed.add(node);
  return needed;
}

function seedFor(loss: Tensor, seed: Tensor | undefined): Tensor {
  if (seed !== undefined && sameShape(seed.shape, loss.shape) && seed.dtype === loss.dtype) return seed;
  if (seed !== undefined)
    throw new ShapeError(
      `the seed must be ${loss.dtype}${showShape(loss.shape)} like the loss, got ${seed.dtype}${showShape(seed.shape)}`,
    );
  if (sizeOf(loss.shape) === 1) return filled(1, loss.shape, loss.dtype);
  throw new ShapeError(
    `the gradient of ${showShape(loss.shape)} needs a seed of that shape; without one the loss must have one element`,
  );
}

/** Applies the rule of `node` and leaves what it gives with the inputs that need it. */
function passOn(node: Tensor, g: Tensor, needed: ReadonlySet<Tensor>, arrived: Map<Tensor, Tensor[]>): void {
  const needs = node.inputs.map((x) => needed.has(x));
  if (!needs.includes(true)) return;
  const rule = vjp[node.op] as VjpRule<Op>;
  const found = rule({ g, x: node.inputs, y: node, attrs: node.attrs, needs });
  node.inputs.forEach((x, i) => {
    const gradient = found[i] ?? null;
    if (!needs[i] || gradient === null) return;
    if (!sameShape(gradient.shape, x.shape) || gradient.dtype !== x.dtype)
      throw new ShapeError(
        `the derivative of ${node.op} in ${node.path} gives ${gradient.dtype}${showShape(gradient.shape)} for ` +
          `input ${i}, which is ${x.dtype}${showShape(x.shape)}`,
      );
    arrived.set(x, [...(arrived.get(x) ?? []), gradient]);
  });
}

function gradientPath({ path }: Tensor): string {
  if (path === "") return "grad";
  return path === "grad" || path.endsWith("/grad") ? path : `${path}/grad`;
}
