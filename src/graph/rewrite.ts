/** @file Graphs made from graphs: node by node, and the clean-up before lowering. */
import { dtypes } from "./dtype.ts";
import type { OpAttrs } from "./ops.ts";
import { sameShape } from "./shape.ts";
import { attrsOf, Tensor, toposort, withScope } from "./tensor.ts";

/** The same outputs from a graph in which no node is computed twice and no movement is the identity. */
export function simplify<K extends string>(outputs: Readonly<Record<K, Tensor>>): Record<K, Tensor> {
  const known = new Map<string, Tensor>();
  return rewrite(outputs, (node) => {
    const simpler = skipIdentity(node);
    const key = signature(simpler);
    const twin = known.get(key) ?? simpler;
    known.set(key, twin);
    return twin;
  });
}

/**
 * The same outputs with every node replaced by what `map` makes of it, in its own scope, inputs before users. A node that
 * `map` is given has the replaced inputs already; it is the node itself where none of them changed.
 */
export function rewrite<K extends string>(
  outputs: Readonly<Record<K, Tensor>>,
  map: (node: Tensor) => Tensor,
): Record<K, Tensor> {
  const replaced = new Map<Tensor, Tensor>();
  for (const node of toposort(Object.values(outputs))) {
    const rebuilt = withInputs(
      node,
      node.inputs.map((x) => replaced.get(x) ?? x),
    );
    replaced.set(
      node,
      withScope(node.path, () => map(rebuilt)),
    );
  }
  const entries = Object.entries<Tensor>(outputs).map(([name, x]) => [name, replaced.get(x) ?? x]);
  return Object.fromEntries(entries) as Record<K, Tensor>;
}

function withInputs(node: Tensor, inputs: readonly Tensor[]): Tensor {
  if (inputs.every((x, i) => x === node.inputs[i])) return node;
  return withScope(node.path, () => new Tensor(node.op, inputs, node.attrs, node));
}

/**
 * Casts, reshapes, transposes and expansions that change nothing; chains of reshapes and transposes become one, and of
 * floats that are widened and narrowed again nothing is left.
 */
function skipIdentity(node: Tensor): Tensor {
  const [x] = node.inputs;
  switch (node.op) {
    case "Cast":
      return skipCast(node);
    case "Expand":
      return sameShape(x.shape, node.shape) ? x : node;
    case "Reshape":
      if (x.op === "Reshape") return skipIdentity(withInputs(node, x.inputs));
      return sameShape(x.shape, node.shape) ? x : node;
    case "Transpose":
      return skipTranspose(node, attrsOf(node, "Transpose"));
    default:
      return node;
  }
}

function skipCast(node: Tensor): Tensor {
  const [x] = node.inputs;
  if (x.dtype === node.dtype) return x;
  if (x.op !== "Cast" || x.inputs[0].dtype !== node.dtype) return node;
  const isWidened = dtypes[x.dtype].float && dtypes[x.dtype].bytes > dtypes[node.dtype].bytes;
  return isWidened && dtypes[node.dtype].float ? x.inputs[0] : node;
}

function skipTranspose(node: Tensor, { perm }: OpAttrs["Transpose"]): Tensor {
  const [x] = node.inputs;
  if (perm.every((axis, i) => axis === i)) return x;
  if (x.op !== "Transpose") return node;
  const inner = attrsOf(x, "Transpose").perm;
  const joined = withScope(node.path, () => x.inputs[0].transpose(perm.map((axis) => inner[axis])));
  return skipTranspose(joined, attrsOf(joined, "Transpose"));
}

/** Two nodes with one signature compute the same. */
function signature(node: Tensor): string {
  const attrs = JSON.stringify(node.attrs, (_, value) => {
    if (ArrayBuffer.isView(value)) return digest(value);
    // JSON writes NaN and both infinities as null.
    return typeof value === "number" ? String(value) : value;
  });
  return `${node.op}(${node.inputs.map((x) => x.id).join()})${node.shape.join("x")}${node.dtype}${attrs}`;
}

/** Small constants are compared by value, large ones by identity of their buffer. */
function digest(view: ArrayBufferView): string {
  if (view.byteLength > 256) return `#${identify(view)}`;
  return Array.from(new Uint8Array(view.buffer, view.byteOffset, view.byteLength)).join();
}

const identities = new WeakMap<ArrayBufferView, number>();
let nextIdentity = 0;

function identify(view: ArrayBufferView): number {
  const known = identities.get(view);
  if (known !== undefined) return known;
  identities.set(view, nextIdentity);
  return nextIdentity++;
}
