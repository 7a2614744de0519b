/** @file Ways through the blocks of the transformer, and what one can do on the way. */
import type { Segment } from "../graph/segment.ts";
import type { SplitBlock } from "../models/transformer/split-block.ts";
import type { Engine, Value } from "../runtime/engine.ts";
import type { ResidentRef } from "../runtime/protocol.ts";
import type { SegmentPool } from "../runtime/segment-pool.ts";
import type { RunHooks } from "./run-hooks.ts";

/** The two token streams between segments. */
export type ResidentStreams = { readonly video: ResidentRef; readonly text: ResidentRef };

/** What a way through the blocks can do. Streams that go into a block are gone afterwards, unless kept. */
export type BlockRunner = {
  readonly count: number;
  block(index: number, streams: ResidentStreams, options?: { keep?: boolean }): Promise<ResidentStreams>;
  /** What the attention of a block says; the streams stay. */
  attention(index: number, streams: ResidentStreams): Promise<ResidentStreams>;
  /** The rest of a block behind its attention; what that says stays. */
  rest(index: number, streams: ResidentStreams, attended: ResidentStreams): Promise<ResidentStreams>;
  /** Runs a segment of one result that has no weights; the feeds stay. */
  compute(segment: Segment<string, "result">, feeds: Readonly<Record<string, Value>>): Promise<ResidentRef>;
  /** The same for a result `[1]`, brought to the host. */
  scalar(segment: Segment<string, "result">, feeds: Readonly<Record<string, Value>>): Promise<number>;
  free(...tensors: readonly ResidentRef[]): Promise<void>;
};

/** A way through the blocks, from the embedding to the head. */
export type BlockWalk = (blocks: BlockRunner, streams: ResidentStreams) => Promise<ResidentStreams>;

/** Every block, one after the other. */
export const throughAll: BlockWalk = async (blocks, first) => {
  let streams = first;
  for (let i = 0; i < blocks.count; i++) streams = await blocks.block(i, streams);
  return streams;
};

type Evaluation = {
  readonly engine: Engine;
  readonly pool: SegmentPool;
  readonly blocks: readonly Segment[];
  readonly split: (index: number) => SplitBlock;
  readonly emb: ResidentRef;
  readonly rotation: Readonly<Record<string, ResidentRef>>;
  readonly hooks: RunHooks;
};

/** The blocks of one evaluation; progress counts them by their place, whether those before have run or not. */
export function blockRunner(evaluation: Evaluation): BlockRunner {
  const { engine, pool, blocks, split, emb, rotation, hooks } = evaluation;
  const { signal, onSegment } = hooks;
  const streamsOf = ({ video, text }: Record<string, ResidentRef>): ResidentStreams => ({ video, text });
  const told = (index: number) => onSegment?.(blocks[index].name, index + 2, blocks.length + 2);
  const compute: BlockRunner["compute"] = async (segment, feeds) =>
    (await pool.run(segment, feeds, { signal })).result;
  return {
    count: blocks.length,
    block: async (index, { video, text }, { keep = false } = {}) => {
      const consume = keep ? [] : [video, text];
      const outputs = await pool.run(blocks[index], { video, text, emb, ...rotation }, { consume, signal });
      told(index);
      return streamsOf(outputs);
    },
    attention: async (index, { video, text }) =>
      streamsOf(await pool.run(split(index).attention, { video, text, emb, ...rotation }, { signal })),
    rest: async (index, { video, text }, attended) => {
      const feeds = { video, text, emb, attendedVideo: attended.video, attendedText: attended.text };
      const outputs = await pool.run(split(index).rest, feeds, { consume: [video, text], signal });
      told(index);
      return streamsOf(outputs);
    },
    compute,
    scalar: async (segment, feeds) => (await pool.download(await compute(segment, feeds))).data[0] as number,
    free: (...tensors) => engine.free(...tensors),
  };
}
