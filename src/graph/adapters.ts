/** @file Low-rank adapters: a rewrite that lets linear maps of a graph add a correction B A x of their own. */
import { linearMap } from "./functions.ts";
import { rewrite, simplify } from "./rewrite.ts";
import type { Segment } from "./segment.ts";
import { attrsOf, emit, type Tensor } from "./tensor.ts";

/** One adapter. The parameters it brings are `<layer>.lora_A[.<name>].weight` and `<layer>.lora_B[.<name>].weight`. */
export type GraphAdapter = {
  /** Tells adapters of one graph apart; the first may do without. */
  readonly name?: string;
  /** By layer, such as `transformer_blocks.0.attn1.to_q`. */
  readonly layers: ReadonlyMap<string, AdapterLayer>;
};

export type AdapterLayer = {
  readonly rank: number;
  /** What B A x is multiplied by: a number, or a scalar tensor such as a graph input. */
  readonly scale: number | Tensor;
};

export type Adapted<K extends string> = {
  readonly outputs: Readonly<Record<K, Tensor>>;
  /** The parameters of the adapters that the graph uses, by key: A `[rank, in]` and B `[out, rank]`. */
  readonly params: ReadonlyMap<string, Tensor>;
};

/** Keys of the matrices that an adapter has for a layer. */
export function adapterKeys(layer: string, name = ""): { readonly a: string; readonly b: string } {
  const part = name === "" ? "" : `.${name}`;
  return { a: `${layer}.lora_A${part}.weight`, b: `${layer}.lora_B${part}.weight` };
}

/**
 * The same outputs with every linear map of an adapted layer, x Wᵀ + b, turned into x Wᵀ + b + Σ scale · (x Aᵀ) Bᵀ
 * (Hu et al. 2021, equation 3). A layer is known by the key of its weight, which may be reshaped on the way; on a
 * convolution of patches that is computed as a linear map, A is `[rank, C, kh, kw]` and B `[out, rank, 1, 1]`, as PEFT
 * has them. Layers that the graph does not have are left alone.
 */
export function withAdapters<K extends string>(
  outputs: Readonly<Record<K, Tensor>>,
  adapters: readonly GraphAdapter[],
): Adapted<K> {
  const params = new Map<string, Tensor>();
  const adapted = rewrite(outputs, (node) => (node.op === "Linear" ? correct(node, adapters, params) : node));
  return { outputs: adapted, params };
}

/** A segment with adapters; the segment itself where they touch none of its layers. */
export function adaptSegment<I extends string, O extends string>(
  segment: Segment<I, O>,
  adapters: readonly GraphAdapter[],
): Segment<I, O> {
  const { outputs, params } = withAdapters(segment.outputs, adapters);
  if (params.size === 0) return segment;
  return { ...segment, outputs: simplify(outputs), params: new Map([...segment.params, ...params]) };
}

function correct(linear: Tensor, adapters: readonly GraphAdapter[], params: Map<string, Tensor>): Tensor {
  const [x, weight] = linear.inputs;
  const stored = storedWeight(weight);
  if (stored === undefined) return linear;
  let result = linear;
  for (const { name, layers } of adapters) {
    const layer = layers.get(stored.layer);
    if (layer === undefined) continue;
    const { a, b } = adapterKeys(stored.layer, name);
    const [out, ...inner] = stored.shape;
    const ones = inner.slice(1).map(() => 1);
    const down = asMatrix(declare(params, a, [layer.rank, ...inner]));
    const up = asMatrix(declare(params, b, [out, layer.rank, ...ones]));
    // The scale is cheapest where the values are fewest.
    const narrow = linearMap(x, down);
    result = result.add(linearMap(layer.scale === 1 ? narrow : narrow.mul(layer.scale), up));
  }
  return result;
}

/** The layer whose parameter `weight` is, and the shape that the checkpoint keeps it in. */
export function storedWeight(weight: Tensor): { layer: string; shape: readonly number[] } | undefined {
  const param = weight.op === "Reshape" ? weight.inputs[0] : weight;
  if (param.op !== "Param" || param.shape[0] !== weight.dim(0)) return undefined;
  const { key, shape } = attrsOf(param, "Param");
  return key.endsWith(".weight") ? { layer: key.slice(0, -".weight".length), shape } : undefined;
}

function declare(params: Map<string, Tensor>, key: string, shape: readonly number[]): Tensor {
  const known = params.get(key);
  if (known !== undefined) return known;
  const made = emit("Param", [], { key, shape });
  params.set(key, made);
  return made;
}

function asMatrix(param: Tensor): Tensor {
  return param.shape.length === 2 ? param : param.reshape([param.dim(0), -1]);
}
