/** @file What a graph holds at once, counted plainly, for estimates to be compared with. */
import { sizeOf } from "../../src/graph/shape.ts";
import { type Tensor, toposort } from "../../src/graph/tensor.ts";

/** The highest sum of results alive at once when nodes run in the graph's order and are dropped after their last use. */
export function heldBytes(outputs: Readonly<Record<string, Tensor>>): number {
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
