/** @file A transformer with quantised linear maps. */
import { type LinearFormat, quantizeLinears } from "../../graph/quantize.ts";
import type { Segment } from "../../graph/segment.ts";
import type { TransformerSegments } from "./transformer.ts";

/** Says how the weights of a layer such as `transformer_blocks.0.attn1.to_q` are quantised, if they are. */
export type LayerFormats = (layer: string) => LinearFormat | undefined;

/** The same segments with the layers that `which` names computed from quantised weights; see `quantizeLinears`. */
export function quantizeTransformer(
  { embed, blocks, head }: TransformerSegments,
  which: LayerFormats,
): TransformerSegments {
  return {
    embed: quantizeLinears(embed, which),
    blocks: blocks.map((block) => quantizeLinears(block, which)),
    head: quantizeLinears(head, which),
  };
}

/** As `quantizeTransformer`, for a block in two. */
export function quantizeSplitBlock<A extends Segment, R extends Segment>(
  { attention, rest }: { readonly attention: A; readonly rest: R },
  which: LayerFormats,
): { readonly attention: A; readonly rest: R } {
  // A rewrite keeps the names of inputs and outputs, which is all that the types tell apart.
  return { attention: quantizeLinears(attention, which) as A, rest: quantizeLinears(rest, which) as R };
}
