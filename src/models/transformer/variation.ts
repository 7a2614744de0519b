/** @file Departures from the plain block at inference: samples that skip it, and samples that others attend to. */
import { attention, concat } from "../../graph/functions.ts";
import type { Tensor } from "../../graph/tensor.ts";
import type { Scope } from "../../nn/scope.ts";
import { type Arrangement, block, oneSamplePerRow, type Rotation, type Streams } from "./block.ts";
import type { TransformerConfig } from "./config.ts";

/** How a call departs from the plain model; samples are places along the batch axis. */
export type Variation =
  /** In these blocks, samples from `from` on come out as they went in (spatio-temporal guidance). */
  | { readonly kind: "skip"; readonly layers: readonly number[]; readonly from: number }
  /** The first half of the batch attends to the second half besides itself (reconstruction after an inversion). */
  | { readonly kind: "reference" };

/** Block `index` of a call. */
export function variedBlock(
  scope: Scope,
  streams: Streams,
  emb: Tensor,
  rotation: Rotation | null,
  config: TransformerConfig,
  { index, variation }: { readonly index: number; readonly variation?: Variation },
): Streams {
  if (variation?.kind === "reference") return block(scope, streams, emb, rotation, config, secondHalfForAll);
  if (variation?.kind !== "skip" || !variation.layers.includes(index))
    return block(scope, streams, emb, rotation, config);
  const { from } = variation;
  const worked = block(
    scope,
    { video: streams.video.slice(0, 0, from), text: streams.text.slice(0, 0, from) },
    emb.slice(0, 0, from),
    rotation,
    config,
  );
  return {
    video: concat([worked.video, streams.video.slice(0, from)], 0),
    text: concat([worked.text, streams.text.slice(0, from)], 0),
  };
}

/** Rows of a batch that block `index` works on; those behind them come out as they went in. */
export function workedRows(batch: number, index: number, variation?: Variation): number {
  return variation?.kind === "skip" && variation.layers.includes(index) ? variation.from : batch;
}

/** Who attends to whom in a varied call. */
export function arrangementOf(variation?: Variation): Arrangement {
  return variation?.kind === "reference" ? secondHalfForAll : oneSamplePerRow;
}

/** Queries of the first half of the batch see keys and values of both halves, those of the second half their own. */
const secondHalfForAll: Arrangement = {
  ...oneSamplePerRow,
  attend: ([q, k, v], heads) => {
    const half = q.dim(0) / 2;
    const first = (x: Tensor) => x.slice(0, 0, half);
    const second = (x: Tensor) => x.slice(0, half);
    const both = (x: Tensor) => concat([first(x), second(x)], 1);
    const joined = attention([first(q), both(k), both(v)], heads);
    return concat([joined, attention([second(q), second(k), second(v)], heads)], 0);
  },
};
