/** @file A transformer with low-rank adapters on its layers. */
import { adapterKeys, adaptSegment, type GraphAdapter } from "../../graph/adapters.ts";
import type { SplitBlock } from "./split-block.ts";
import type { TransformerSegments } from "./transformer.ts";

/** One adapter with the rank and the scale it has on each layer, such as `transformer_blocks.0.attn1.to_q`. */
export type TransformerAdapter = GraphAdapter & {
  readonly layers: ReadonlyMap<string, { readonly rank: number; readonly scale: number }>;
};

/** The same segments with the adapters' corrections in them; see `withAdapters`. */
export function adaptTransformer(
  { embed, blocks, head }: TransformerSegments,
  adapters: readonly TransformerAdapter[],
): TransformerSegments {
  return {
    embed: adaptSegment(embed, adapters),
    blocks: blocks.map((block) => adaptSegment(block, adapters)),
    head: adaptSegment(head, adapters),
  };
}

/** As `adaptTransformer`, for a block in two. */
export function adaptSplitBlock(
  { attention, rest }: SplitBlock,
  adapters: readonly TransformerAdapter[],
): SplitBlock {
  return { attention: adaptSegment(attention, adapters), rest: adaptSegment(rest, adapters) };
}

/** A parameter of an adapter: one of the two matrices of a layer. */
export type AdapterParam = { readonly key: string; readonly layer: string; readonly matrix: "a" | "b" };

/** The parameters that an adapter declares. */
export function adapterParams({ name, layers }: TransformerAdapter): AdapterParam[] {
  return [...layers.keys()].flatMap((layer): AdapterParam[] => {
    const { a, b } = adapterKeys(layer, name);
    return [
      { key: a, layer, matrix: "a" },
      { key: b, layer, matrix: "b" },
    ];
  });
}
