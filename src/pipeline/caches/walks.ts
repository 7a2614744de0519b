/** @file Ways through the blocks that leave some of them out, or their attention. */
import type { ResidentRef } from "../../runtime/protocol.ts";
import type { BlockRunner, BlockWalk, ResidentStreams } from "../block-runner.ts";
import type { FeatureArithmetic } from "./feature-arithmetic.ts";
import type { KeptTensors } from "./kept-tensors.ts";
import type { Kept } from "./policy.ts";

type KeptBlocks = Extract<Kept, { part: "blocks" }>;
type KeptAttention = Extract<Kept, { part: "attention" }>;

/** What walks work with. */
export type Shelf = { readonly tensors: KeptTensors; readonly arithmetic: FeatureArithmetic };

/** What a walk asks on its way, and tells. */
export type Decider = {
  /** The weights to reuse with, or null; see `Decision`. */
  readonly reuse: (change: number | null) => readonly number[] | null;
  /** Takes note of the growth of a result; absent where nobody wants to know. */
  readonly learn?: (growth: number | null) => void;
};

/** Through the blocks at the front, then past a span of blocks or through it, then through those at the back. */
export function walkSpan(shelf: Shelf, kept: KeptBlocks, decider: Decider): BlockWalk {
  return async (blocks, streams) => {
    const end = blocks.count - kept.back;
    const { streams: entering, added } = await walkFront(blocks, streams, shelf, kept);
    const [before] = shelf.tensors.residents("front");
    const change = added && before ? await shelf.arithmetic.change(blocks, added, before) : null;
    const weights = decider.reuse(change);
    let leaving: ResidentStreams;
    if (weights === null) {
      if (added) await shelf.tensors.keep("front", added);
      leaving = await computeSpan(blocks, entering, shelf, { ...kept, end, learn: decider.learn });
    } else {
      if (added) await blocks.free(added);
      leaving = await reuseSpan(blocks, entering, shelf, { ...kept, weights });
    }
    for (let i = end; i < blocks.count; i++) leaving = await blocks.block(i, leaving);
    return leaving;
  };
}

/** The streams behind the front blocks and, where that is measured, what these have added to the video. */
async function walkFront(
  blocks: BlockRunner,
  first: ResidentStreams,
  { arithmetic }: Shelf,
  { front, measured = false }: KeptBlocks,
): Promise<{ streams: ResidentStreams; added: ResidentRef | null }> {
  let streams = first;
  for (let i = 0; i < front; i++) streams = await blocks.block(i, streams, { keep: measured && i === 0 });
  if (!measured || front === 0) return { streams, added: null };
  const added = await arithmetic.difference(blocks, streams.video, first.video);
  await blocks.free(first.video, first.text);
  return { streams, added };
}

type Computing = KeptBlocks & { readonly end: number; readonly learn?: Decider["learn"] };

/** Through the span, keeping what it adds. The text is of no use behind the last block, so it needs nothing there. */
async function computeSpan(
  blocks: BlockRunner,
  entering: ResidentStreams,
  { tensors, arithmetic }: Shelf,
  { front, back, end, count, learn }: Computing,
): Promise<ResidentStreams> {
  let streams = entering;
  for (let i = front; i < end; i++) streams = await blocks.block(i, streams, { keep: i === front });
  const added = await arithmetic.difference(blocks, streams.video, entering.video);
  const [before] = tensors.residents("span.video");
  if (learn) learn(before ? await arithmetic.growth(blocks, added, before) : null);
  await tensors.keep("span.video", added, count);
  if (back > 0)
    await tensors.keep("span.text", await arithmetic.difference(blocks, streams.text, entering.text), count);
  await blocks.free(entering.video, entering.text);
  return streams;
}

async function reuseSpan(
  blocks: BlockRunner,
  entering: ResidentStreams,
  { tensors, arithmetic }: Shelf,
  { back, weights }: KeptBlocks & { readonly weights: readonly number[] },
): Promise<ResidentStreams> {
  const onto = (name: string, stream: ResidentRef) =>
    arithmetic.weightedSum(blocks, tensors.residents(name).slice(0, weights.length), weights, stream);
  const video = await onto("span.video", entering.video);
  const text = back > 0 ? await onto("span.text", entering.text) : entering.text;
  await blocks.free(entering.video, ...(back > 0 ? [entering.text] : []));
  return { video, text };
}

/** A walk that keeps or reuses what attention says; `weights` of the kept results, newest first, or null to compute. */
export type AttentionWalk = {
  readonly kept: KeptAttention;
  readonly weights: readonly number[] | null;
  /** Whether the batch holds samples without the prompt in its first half. */
  readonly isPair: boolean;
};

/** Through all blocks, with what their attention says computed or put together from earlier steps. */
export function walkAttention(shelf: Shelf, walk: AttentionWalk): BlockWalk {
  return async (blocks, first) => {
    let streams = first;
    for (let i = 0; i < blocks.count; i++) {
      const attended = await attend(blocks, streams, shelf, { ...walk, index: i });
      streams = await blocks.rest(i, streams, attended.streams);
      if (!attended.isKept) await blocks.free(attended.streams.video, attended.streams.text);
    }
    return streams;
  };
}

/** What the attention of one block says, and whether it lies on the shelf. */
async function attend(
  blocks: BlockRunner,
  streams: ResidentStreams,
  { tensors, arithmetic }: Shelf,
  {
    kept: { count, conditional = false },
    weights,
    isPair,
    index,
  }: AttentionWalk & { readonly index: number },
): Promise<{ streams: ResidentStreams; isKept: boolean }> {
  const nameOf = (part: string) => `attention.${index}.${part}`;
  const keep = async ({ video, text }: ResidentStreams) => {
    await tensors.keep(nameOf("video"), video, count);
    await tensors.keep(nameOf("text"), text, count);
  };
  if (weights !== null) {
    const [videos, texts] = ["video", "text"].map((part) =>
      tensors.residents(nameOf(part)).slice(0, weights.length),
    );
    if (weights.length === 1 && weights[0] === 1)
      return { streams: { video: videos[0], text: texts[0] }, isKept: true };
    const video = await arithmetic.weightedSum(blocks, videos, weights);
    const sum = { video, text: await arithmetic.weightedSum(blocks, texts, weights) };
    // FasterCache extrapolates from extrapolations, TaylorSeer from computed results only.
    if (conditional) await keep(sum);
    return { streams: sum, isKept: conditional };
  }
  const said = await blocks.attention(index, streams);
  if (!conditional || !isPair) {
    await keep(said);
    return { streams: said, isKept: true };
  }
  const video = await arithmetic.secondHalf(blocks, said.video);
  await keep({ video, text: await arithmetic.secondHalf(blocks, said.text) });
  return { streams: said, isKept: false };
}
