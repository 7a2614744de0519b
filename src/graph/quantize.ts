/** @file Quantised linear maps: a rewrite that computes linear maps of a segment from weights of 8 or 4 bits. */
import { storedWeight } from "./adapters.ts";
import type { ByteRange } from "./ops.ts";
import { rewrite, simplify } from "./rewrite.ts";
import type { Segment } from "./segment.ts";
import { emit, type Tensor } from "./tensor.ts";

/** How a layer's weights are stored, and the keys of the parameters that then stand for `<layer>.weight`. */
export type LinearFormat = {
  readonly weight: string;
  readonly scale: string;
} & (
  | {
      /**
       * Signed bytes `[in, out]` with a scale `[out]`; activations become bytes with a scale for every row:
       * x Wᵀ ≈ s_row · s_out · Σ (a − zero) w, summed in 32 bits.
       */
      readonly kind: "bytes";
    }
  | {
      /**
       * Unsigned `[out, ceil(in / block), block · bits / 8]` around 2^(bits − 1), lower bits first, with scales
       * `[out, ceil(in / block)]`.
       */
      readonly kind: "blocks";
      readonly bits: 4 | 8;
      readonly block: number;
    }
);

/**
 * The same segment with every linear map whose layer `which` names computed from quantised weights; the segment itself
 * where it names none. Biases, and everything else, stay in float32. Adapters go on before: their own maps stay as they
 * are.
 */
export function quantizeLinears<I extends string, O extends string>(
  segment: Segment<I, O>,
  which: (layer: string) => LinearFormat | undefined,
): Segment<I, O> {
  const params = new Map(segment.params);
  const outputs = rewrite(segment.outputs, (node) =>
    node.op === "Linear" ? quantize(node, which, params) : node,
  );
  const names = Object.keys(outputs) as O[];
  if (names.every((name) => outputs[name] === segment.outputs[name])) return segment;
  return { ...segment, outputs: simplify(outputs), params };
}

function quantize(
  linear: Tensor,
  which: (layer: string) => LinearFormat | undefined,
  params: Map<string, Tensor>,
): Tensor {
  const [x, weight, ...bias] = linear.inputs;
  const stored = storedWeight(weight);
  const format = stored && which(stored.layer);
  if (stored === undefined || format === undefined) return linear;
  params.delete(`${stored.layer}.weight`);
  const declare = (key: string, shape: readonly number[], dtype: "f32" | "i8" | "u8") => {
    const known = params.get(key) ?? emit("Param", [], { key, shape, dtype });
    params.set(key, known);
    return known;
  };
  const [out, width] = weight.shape;
  if (format.kind === "bytes") {
    const matrix = declare(format.weight, [width, out], "i8");
    const range: ByteRange = isAlmostPositive(x) ? "positive" : "balanced";
    const scale = emit("RowScale", [x], { range });
    const rows = emit("QuantizeRows", [x, scale], { range });
    return emit("ByteLinear", [rows, scale, matrix, declare(format.scale, [out], "f32"), ...bias], { range });
  }
  const { bits, block } = format;
  const blocks = Math.ceil(width / block);
  const matrix = declare(format.weight, [out, blocks, (block * bits) / 8], "u8");
  const scales = declare(format.scale, [out, blocks], "f32");
  return emit("BlockLinear", [x, matrix, scales, ...bias], { bits, block });
}

/** What leaves a GELU is never below -0.17, so that half of a balanced range would go unused. */
function isAlmostPositive({ op }: Tensor): boolean {
  return op === "GeluTanh" || op === "Relu";
}
