/** @file A transformer with quantised linear maps, or with products in float16. */
import { computeInHalves } from "../../graph/halves.ts";
import { type LinearFormat, quantizeLinears } from "../../graph/quantize.ts";
import type { Segment } from "../../graph/segment.ts";
import type { TransformerSegments } from "./transformer.ts";

/**
 * Says how a layer such as `transformer_blocks.0.attn1.to_q` is computed where it is not in float32: from weights that are
 * quantised, or in float16 ("halves").
 */
export type LayerFormats = (layer: string) => LinearFormat | { readonly kind: "halves" } | undefined;

/** The same segments with the layers that `which` names computed so; see `quantizeLinears` and `computeInHalves`. */
export function quantizeTransformer(
  { embed, blocks, head }: TransformerSegments,
  which: LayerFormats,
): TransformerSegments {
  return {
    embed: inFormats(embed, which),
    blocks: blocks.map((block) => inFormats(block, which)),
    head: inFormats(head, which),
  };
}

/** As `quantizeTransformer`, for a block in two. */
export function quantizeSplitBlock<A extends Segment, R extends Segment>(
  { attention, rest }: { readonly attention: A; readonly rest: R },
  which: LayerFormats,
): { readonly attention: A; readonly rest: R } {
  // A rewrite keeps the names of inputs and outputs, which is all that the types tell apart.
  return { attention: inFormats(attention, which) as A, rest: inFormats(rest, which) as R };
}

function inFormats(segment: Segment, which: LayerFormats): Segment {
  const quantized = quantizeLinears(segment, (layer) => {
    const format = which(layer);
    return format?.kind === "halves" ? undefined : format;
  });
  return computeInHalves(quantized, (layer) => which(layer)?.kind === "halves");
}
