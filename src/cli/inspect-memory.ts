/** @file Estimates what a segment takes in memory from its graph alone; nothing runs and nothing is read. */
import type { Segment } from "../graph/segment.ts";
import { sizeOf } from "../graph/shape.ts";
import { attrsOf, type Tensor, toposort } from "../graph/tensor.ts";

/** Bytes of one stage of a run, as an upper estimate. */
export type StageMemory = {
  /** Weights as they are stored. They are mapped: the kernel may drop these pages at any time. */
  readonly mapped: number;
  /** The largest segment's weights once they are widened to float32. */
  readonly widened: number;
  /** The largest segment's intermediate results. */
  readonly activations: number;
};

/**
 * The most that a stage takes: its segments run one after the other, so the largest counts.
 * @param isWide tells of a parameter that is stored as float32, which needs no second copy
 */
export function stageMemory(
  segments: readonly Segment[],
  mapped: number,
  isWide: (key: string) => boolean,
): StageMemory {
  return {
    mapped,
    widened: Math.max(0, ...segments.map((segment) => widenedBytes(segment, isWide))),
    activations: Math.max(0, ...segments.map(peakActivationBytes)),
  };
}

function widenedBytes({ outputs }: Segment, isWide: (key: string) => boolean): number {
  const nodes = toposort(Object.values(outputs));
  // A table that rows are gathered from is never widened as a whole.
  const tables = new Set(nodes.filter(({ op }) => op === "Gather").map(({ inputs }) => inputs[0]));
  return nodes
    .filter((node) => node.op === "Param" && !tables.has(node) && !isWide(attrsOf(node, "Param").key))
    .reduce((sum, { shape }) => sum + 4 * sizeOf(shape), 0);
}

/** The highest sum of results alive at once when nodes run in order and are dropped after their last use. */
function peakActivationBytes({ outputs }: Segment): number {
  const order = toposort(Object.values(outputs)).filter(({ op }) => op !== "Param" && op !== "Constant");
  const inputs = order.filter(({ op }) => op === "Input");
  const lastUse = new Map<Tensor, number>();
  for (const [i, node] of order.entries()) for (const x of node.inputs) lastUse.set(storageOf(x), i);
  for (const kept of [...inputs, ...Object.values<Tensor>(outputs)])
    lastUse.set(storageOf(kept), order.length);
  let live = inputs.reduce((sum, node) => sum + bytesOf(node), 0);
  let peak = live;
  for (const [i, node] of order.entries()) {
    if (storageOf(node) === node && node.op !== "Input") live += bytesOf(node);
    peak = Math.max(peak, live);
    const dead = new Set(node.inputs.map(storageOf).filter((x) => lastUse.get(x) === i));
    for (const x of dead) if (x.op !== "Param" && x.op !== "Constant") live -= bytesOf(x);
  }
  return peak;
}

/** The tensor whose memory a node shares: reshaping and waiting make no copy. */
function storageOf(node: Tensor): Tensor {
  return node.op === "Reshape" || node.op === "After" ? storageOf(node.inputs[0]) : node;
}

function bytesOf({ shape, dtype }: Tensor): number {
  const width = dtype === "i64" ? 8 : dtype === "f16" || dtype === "bf16" ? 2 : dtype === "bool" ? 1 : 4;
  return width * sizeOf(shape);
}
