/** @file How much there is to compute in a graph: multiplications and additions of its products, from shapes alone. */
import type { Op } from "./ops.ts";
import { sizeOf } from "./shape.ts";
import { attrsOf, type Tensor, toposort } from "./tensor.ts";

/**
 * Operators whose work grows faster than their values. The others pass over memory a few times, which products do not
 * wait for where they are large.
 */
const rules: { readonly [O in Op]?: (node: Tensor) => number } = {
  MatMul: (node) => {
    const [a] = node.inputs;
    return 2 * sizeOf(node.shape) * a.dim(attrsOf(node, "MatMul").transA ? -2 : -1);
  },
  Linear: mapped,
  ByteLinear: mapped,
  BlockLinear: mapped,
  // Every value is a sum over the kernel's window and the channels of its group.
  Conv: (node) => 2 * sizeOf(node.shape) * sizeOf(node.inputs[1].shape.slice(1)),
  // Every value that comes in goes out through the kernel once.
  ConvTranspose: ({ inputs: [x, kernel] }) => 2 * sizeOf(x.shape) * sizeOf(kernel.shape.slice(1)),
  // Scores, and values weighted by them.
  Attention: ({ inputs: [q, k] }) => 4 * sizeOf(q.shape) * k.dim(1),
};

/** Multiplications and additions, counted apart, of everything that the outputs need. */
export function operationsOf(outputs: Iterable<Tensor>): number {
  return toposort([...outputs]).reduce((sum, node) => sum + nodeOperations(node), 0);
}

/** Multiplications and additions of one node; 0 where memory is what it waits for. */
export function nodeOperations(node: Tensor): number {
  return rules[node.op]?.(node) ?? 0;
}

function mapped({ shape, inputs: [x] }: Tensor): number {
  return 2 * sizeOf(shape) * x.dim(-1);
}
