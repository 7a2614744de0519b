/** @file Products in float16: a rewrite that computes linear maps and attention of a segment in half the bits. */
import { storedWeight } from "./adapters.ts";
import { rewrite, simplify } from "./rewrite.ts";
import type { Segment } from "./segment.ts";
import { attrsOf, emit, type Tensor } from "./tensor.ts";

/**
 * The same segment with every linear map whose layer `isHalved` names computed in float16 from weights that are stored
 * so, bias and all, and with them the attention between such maps. What goes into a product is rounded to float16 and
 * what comes out is widened, so that everything else, the segment's inputs and outputs among it, stays in float32: sums
 * that grow from block to block, norms, activations, adapters. Attention with a bias stays as it is too.
 *
 * Values beyond 65504 become infinite, and sums of them NaN: nothing here hides that from who looks at the outputs.
 */
export function computeInHalves<I extends string, O extends string>(
  segment: Segment<I, O>,
  isHalved: (layer: string) => boolean,
): Segment<I, O> {
  const params = new Map(segment.params);
  /** Scopes of the layers so far; the attention of a scope comes after its queries, keys and values. */
  const scopes = new Set<string>();
  const outputs = rewrite(segment.outputs, (node) => {
    if (node.op === "Attention") return scopes.has(node.path) ? halveAttention(node) : node;
    const layer = node.op === "Linear" ? storedWeight(node.inputs[1])?.layer : undefined;
    if (layer === undefined || !isHalved(layer)) return node;
    scopes.add(layer.slice(0, layer.lastIndexOf(".")));
    return halveLinear(node, params);
  });
  if (scopes.size === 0) return segment;
  return { ...segment, outputs: simplify(outputs), params };
}

function halveLinear(linear: Tensor, params: Map<string, Tensor>): Tensor {
  const [x, ...weights] = linear.inputs;
  const halves = weights.map((weight) => halfParam(weight, params));
  return emit("Linear", [x.cast("f16"), ...halves], {}).cast("f32");
}

function halveAttention(node: Tensor): Tensor {
  if (node.inputs.length > 3) return node;
  const qkv = node.inputs.map((x) => x.cast("f16"));
  return emit("Attention", qkv, attrsOf(node, "Attention")).cast("f32");
}

/** The same parameter, declared as float16. */
function halfParam(weight: Tensor, params: Map<string, Tensor>): Tensor {
  const { key, shape } = attrsOf(weight, "Param");
  const known = params.get(key);
  if (known?.dtype === "f16") return known;
  const made = emit("Param", [], { key, shape, dtype: "f16" });
  params.set(key, made);
  return made;
}
