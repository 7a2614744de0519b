/** @file How much a segment has to compute, from its graph alone. */
import { nodeOperations } from "../graph/operations.ts";
import type { Segment } from "../graph/segment.ts";
import { sizeOf } from "../graph/shape.ts";
import { attrsOf, type Tensor, toposort } from "../graph/tensor.ts";
import type { IsNarrow } from "./segment-memory.ts";

/** Work by what limits it: operations (multiplications and additions), and bytes that go through memory. */
export type Work = {
  /** Products of float32 matrices. */
  readonly products: number;
  /** Products with weights in 8 or 4 bits. */
  readonly byteProducts: number;
  readonly convolutions: number;
  readonly attention: number;
  /** Bytes read and written by everything else, the widening of weights included. */
  readonly moved: number;
};

export const noWork: Work = { products: 0, byteProducts: 0, convolutions: 0, attention: 0, moved: 0 };

/** The work of one run of a segment. */
export function segmentWork({ outputs }: Segment, isNarrow: IsNarrow): Work {
  return sumOfWork(toposort(Object.values(outputs)).map((node) => workOf(node, isNarrow)));
}

export function sumOfWork(parts: readonly Work[]): Work {
  const total = { ...noWork };
  for (const part of parts)
    for (const kind of Object.keys(total) as (keyof Work)[]) total[kind] += part[kind];
  return total;
}

export function timesWork(work: Work, factor: number): Work {
  const entries = Object.entries(work).map(([kind, amount]) => [kind, factor * amount]);
  return Object.fromEntries(entries) as Work;
}

/** Sums over fewer numbers than this take less time than bringing them. */
const SHORT_SUM = 32;

function workOf(node: Tensor, isNarrow: IsNarrow): Work {
  const operations = nodeOperations(node);
  switch (node.op) {
    case "Input":
    case "Constant":
    case "Reshape":
    case "After":
      return noWork;
    case "Param":
      // Two bytes a number are read, and four written and read again.
      return isNarrow(attrsOf(node, "Param").key) ? { ...noWork, moved: 10 * sizeOf(node.shape) } : noWork;
    case "Linear":
      return { ...noWork, products: operations };
    case "MatMul":
      return operations < 2 * SHORT_SUM * sizeOf(node.shape)
        ? movedBy(node)
        : { ...noWork, products: operations };
    case "ByteLinear":
    case "BlockLinear":
      return { ...noWork, byteProducts: operations };
    case "Conv":
      return { ...noWork, convolutions: operations };
    case "Attention":
      return { ...noWork, attention: operations };
    default:
      return movedBy(node);
  }
}

function movedBy(node: Tensor): Work {
  const tensors = [node, ...node.inputs].filter(({ op }) => op !== "Param" && op !== "Constant");
  return { ...noWork, moved: 4 * tensors.reduce((sum, { shape }) => sum + sizeOf(shape), 0) };
}
