/** @file A block in two segments, for those who would reuse what its attention said in an earlier step. */
import { concat } from "../../graph/functions.ts";
import { type Segment, traceSegment } from "../../graph/segment.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { Scope } from "../../nn/scope.ts";
import { attentionPart, type Rotation, restPart, type Streams } from "./block.ts";
import type { TransformerConfig } from "./config.ts";
import { blockSpecs, type TransformerCall } from "./transformer.ts";
import { arrangementOf, type Variation, workedRows } from "./variation.ts";

/** A block in two: together they give what the whole block gives. */
export type SplitBlock = {
  /** From `video`, `text`, `emb` and the rotation to `video` and `text` as the attention says them. */
  readonly attention: Segment;
  /** From `video`, `text`, `emb`, `attendedVideo` and `attendedText` to the block's `video` and `text`. */
  readonly rest: Segment;
};

/** Traces block `index` of a call as two segments. */
export function splitBlock(config: TransformerConfig, call: TransformerCall, index: number): SplitBlock {
  const { cos, sin, ...specs } = blockSpecs(config, call);
  const rows = workedRows(call.batch, index, call.variation);
  return {
    attention: traceSegment(
      `transformer_blocks.${index}.attention`,
      cos ? { ...specs, cos, sin } : specs,
      (x) => {
        const scope = new Scope().at("transformer_blocks", index);
        const rotation: Rotation | null = config.rotary ? { cos: x.cos, sin: x.sin } : null;
        const arrangement = arrangementOf(call.variation);
        const { video, text, emb } = firstRows({ video: x.video, text: x.text, emb: x.emb }, rows);
        const outputs = attentionPart(scope, { video, text }, emb, rotation, config, arrangement);
        return { outputs: { ...outputs }, params: scope.declared };
      },
    ),
    rest: restSegment(config, { specs, rows, index, variation: call.variation }),
  };
}

type Rest = {
  readonly specs: Readonly<Record<string, readonly number[]>>;
  readonly rows: number;
  readonly index: number;
  readonly variation: Variation | undefined;
};

function restSegment(config: TransformerConfig, { specs, rows, index, variation }: Rest): Segment {
  const { video, text } = specs;
  const inputs: Record<string, readonly number[]> = {
    ...specs,
    attendedVideo: [rows, ...video.slice(1)],
    attendedText: [rows, ...text.slice(1)],
  };
  return traceSegment(`transformer_blocks.${index}.rest`, inputs, (x) => {
    const scope = new Scope().at("transformer_blocks", index);
    const { emb, ...worked } = firstRows({ video: x.video, text: x.text, emb: x.emb }, rows);
    const said: Streams = { video: x.attendedVideo, text: x.attendedText };
    const outputs = restPart(scope, worked, said, emb, config, arrangementOf(variation));
    const all = (fresh: Tensor, old: Tensor) =>
      rows === old.dim(0) ? fresh : concat([fresh, old.slice(0, rows)], 0);
    return {
      outputs: { video: all(outputs.video, x.video), text: all(outputs.text, x.text) },
      params: scope.declared,
    };
  });
}

/** Rows of the batch that a block works on; the others pass through. */
function firstRows<K extends string>(x: Readonly<Record<K, Tensor>>, rows: number): Record<K, Tensor> {
  const entries = Object.entries<Tensor>(x).map(([key, tensor]) => [
    key,
    rows === tensor.dim(0) ? tensor : tensor.slice(0, 0, rows),
  ]);
  return Object.fromEntries(entries) as Record<K, Tensor>;
}
