/** @file A transformer with quantised linear maps. */
import { type LinearFormat, quantizeLinears } from "../../graph/quantize.ts";
import type { TransformerSegments } from "./transformer.ts";

/** The same segments with the layers that `which` names computed from quantised weights; see `quantizeLinears`. */
export function quantizeTransformer(
  { embed, blocks, head }: TransformerSegments,
  which: (layer: string) => LinearFormat | undefined,
): TransformerSegments {
  return {
    embed: quantizeLinears(embed, which),
    blocks: blocks.map((block) => quantizeLinears(block, which)),
    head: quantizeLinears(head, which),
  };
}
