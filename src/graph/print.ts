/** @file A graph as text, one node a line, for snapshots and debugging. */
import type { Tensor } from "./tensor.ts";
import { toposort } from "./tensor.ts";

/** Lines such as `%3 = Add(%1, %2) f32[2, 3] @ norm1`; numbering starts at the inputs. */
export function printGraph(outputs: Readonly<Record<string, Tensor>>): string {
  const order = toposort(Object.values(outputs));
  const name = new Map(order.map((node, i) => [node, `%${i}`]));
  const lines = order.map((node) => {
    const operands = node.inputs.map((x) => name.get(x)).join(", ");
    const where = node.path === "" ? "" : ` @ ${node.path}`;
    return `${name.get(node)} = ${node.op}(${operands})${showAttrs(node)} ${node.dtype}[${node.shape.join(", ")}]${where}`;
  });
  const results = Object.entries(outputs).map(([key, x]) => `${key} = ${name.get(x)}`);
  return [...lines, `return ${results.join(", ")}`].join("\n");
}

function showAttrs(node: Tensor): string {
  const shown = Object.entries(node.attrs)
    .filter(([key]) => !["shape", "dtype"].includes(key))
    .map(([key, value]) => `${key}=${ArrayBuffer.isView(value) ? showData(value) : JSON.stringify(value)}`);
  return shown.length === 0 ? "" : `{${shown.join(", ")}}`;
}

function showData(view: ArrayBufferView): string {
  const values = Array.from(view as Float32Array).slice(0, 4);
  return `${values.join(" ")}${view.byteLength > 4 * 8 ? " ..." : ""}`;
}
