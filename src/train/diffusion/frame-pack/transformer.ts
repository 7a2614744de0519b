/** @file The transformer over a packed row: samples share the maps and norms, and never see each other. */
// n samples, T text tokens each, N video tokens of all, S = nT + N, D width
import { concat } from "../../../graph/functions.ts";
import type { Tensor } from "../../../graph/tensor.ts";
import {
  type Arrangement,
  block,
  oneSamplePerRow,
  type Rotation,
  type Streams,
} from "../../../models/transformer/block.ts";
import type { TransformerConfig } from "../../../models/transformer/config.ts";
import { unpatchify } from "../../../models/transformer/patch.ts";
import { embed, headPatches } from "../../../models/transformer/transformer.ts";
import type { Scope } from "../../../nn/scope.ts";
import { addedBy, withCondition } from "../loss.ts";
import type { PackedSegment, RowLayout } from "./layout.ts";

/** What the transformer takes for one row; lists have an entry for every sample, in the order of the layout. */
export type PackedConditions = {
  /** Features of the timesteps, `[n, D]` */
  readonly timestep: Tensor;
  /** Text encoder states, `[n, T, textDim]` */
  readonly text: Tensor;
  /** Conditioning latents behind the noisy ones on the channel axis */
  readonly condition?: readonly Tensor[];
  /** Features of `ofs`, `[n, ofsDim]`, where the model has it */
  readonly ofs?: Tensor;
  /** Rows added to the tokens of each sample, `[1, T + N_i, D]`; undefined for those that the model has a table for */
  readonly positions?: readonly (Tensor | undefined)[];
  /** Rotary rows `[1, S, headDim / 2]` of `packedRotary`, where positions are rotations */
  readonly rotation?: Rotation;
};

/** Velocities `[1, F_i, C, H_i, W_i]` from noisy latents of these shapes: what each sample would get alone. */
export function predictPacked(
  p: Scope,
  noisy: readonly Tensor[],
  x: PackedConditions,
  config: TransformerConfig,
  layout: RowLayout,
): Tensor[] {
  const arrangement = packedArrangement(layout);
  const { emb, ...embedded } = embedPacked(p, noisy, x, config);
  let streams: Streams = embedded;
  for (let i = 0; i < config.layers; i++) {
    const scope = p.at("transformer_blocks", i);
    streams = block(scope, streams, emb, x.rotation ?? null, config, arrangement);
  }
  return headPacked(p, streams.video, emb, config, layout);
}

/** The streams of a row before the first block, `[1, N, D]` and `[1, n T, D]`, and what modulates them, `[n, timeDim]`. */
export function embedPacked(
  p: Scope,
  noisy: readonly Tensor[],
  x: Omit<PackedConditions, "rotation">,
  config: TransformerConfig,
): Streams & { readonly emb: Tensor } {
  const embedded = noisy.map((own, i) => embedSample(p, own, x, i, config));
  const joined = (name: "video" | "text" | "emb", axis: number) =>
    concat(
      embedded.map((part) => part[name]),
      axis,
    );
  return { video: joined("video", 1), text: joined("text", 1), emb: joined("emb", 0) };
}

/** The velocities of all samples from the row's video behind the last block. */
export function headPacked(
  p: Scope,
  video: Tensor,
  emb: Tensor,
  config: TransformerConfig,
  layout: RowLayout,
): Tensor[] {
  const patches = headPatches(p, video, emb, config, packedArrangement(layout));
  return layout.segments.map(({ video: span, size }) =>
    unpatchify(patches.slice(1, span.start, span.end), config, size),
  );
}

function embedSample(
  p: Scope,
  noisy: Tensor,
  x: Omit<PackedConditions, "rotation">,
  i: number,
  config: TransformerConfig,
) {
  const latents = withCondition(noisy, x.condition?.[i]);
  const own = (rows: Tensor) => rows.slice(0, i, i + 1);
  const [text, timestep, ofs] = [own(x.text), own(x.timestep), x.ofs && own(x.ofs)];
  const positions = x.positions?.[i];
  return embed(p, { latents, text, timestep, ofs, positions }, config, addedBy({ positions }, config));
}

/**
 * The arrangement of a packed row. Attention runs sample by sample over slices of the sequence, which is
 * block-diagonal attention without its S x S mask: the work is Σ S_i², and what lies between is never computed.
 */
export function packedArrangement(layout: RowLayout): Arrangement {
  const { segments } = layout;
  if (segments.length === 1) return oneSamplePerRow;
  return {
    toVideo: (rows) => spread(rows, segments, (segment) => segment.video),
    toText: (rows) => spread(rows, segments, (segment) => segment.text),
    attend: (qkv, heads) => attendApart(qkv, heads, layout),
  };
}

/** Rows `[n, 1, C]` to `[1, tokens, C]`: the row of its sample for every token. */
function spread(
  rows: Tensor,
  segments: readonly PackedSegment[],
  spanOf: (segment: PackedSegment) => { readonly start: number; readonly end: number },
): Tensor {
  const parts = segments.map((segment, i) => {
    const { start, end } = spanOf(segment);
    return rows.slice(0, i, i + 1).expand([1, end - start, rows.dim(2)]);
  });
  return concat(parts, 1);
}

function attendApart(
  qkv: readonly [q: Tensor, k: Tensor, v: Tensor],
  heads: number,
  { segments, textLength, textTokens }: RowLayout,
): Tensor {
  const attended = segments.map(({ text, video }) => {
    const own = (x: Tensor) =>
      concat(
        [x.slice(1, text.start, text.end), x.slice(1, textTokens + video.start, textTokens + video.end)],
        1,
      );
    const [q, k, v] = qkv;
    return oneSamplePerRow.attend([own(q), own(k), own(v)], heads);
  });
  const texts = attended.map((x) => x.slice(1, 0, textLength));
  const videos = attended.map((x) => x.slice(1, textLength));
  return concat([...texts, ...videos], 1);
}
