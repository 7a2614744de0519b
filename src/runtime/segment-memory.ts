/** @file What a segment takes in memory while it runs, from its graph alone; nothing runs and nothing is read. */
import { dtypes } from "../graph/dtype.ts";
import type { Segment } from "../graph/segment.ts";
import { sizeOf } from "../graph/shape.ts";
import { attrsOf, type Tensor, toposort } from "../graph/tensor.ts";
import { ModelArena } from "./model-arena.ts";

/** Bytes of one segment on a processor. Everything is float32 where it is computed, whatever it is stored in. */
export type SegmentMemory = {
  /** What is fed. */
  readonly inputs: number;
  /** What comes out. */
  readonly outputs: number;
  /** The most that is alive at one time beside the inputs: results, widened weights, and what operators work with. */
  readonly live: number;
  /** As `live`, without weights and what is made of weights alone: the part that grows with the inputs. */
  readonly activations: number;
};

/** How a parameter is stored, by checkpoint key; `narrow` ones are widened to float32 before they are used. */
export type IsNarrow = (key: string) => boolean;

/**
 * A piece of memory: what a node makes, or a parameter once it is widened. It needs others, of which it shares the
 * memory of one, or takes its own with something extra while it is made.
 */
type Piece = {
  /** Among all pieces of the graph. */
  readonly place: number;
  readonly needs: readonly Piece[];
  readonly bytes: number;
  /** Beside the result while the operator runs. */
  readonly extra: number;
  readonly shares: Piece | null;
  readonly isInput: boolean;
  /** The same for every input: a weight, or made of weights alone. */
  readonly isFixed: boolean;
};

/** The memory of a segment when nodes run in the engine's order and results go after their last use. */
export function segmentMemory({ outputs }: Segment, isNarrow: IsNarrow): SegmentMemory {
  const results = piecesOf(Object.values(outputs), isNarrow);
  const order = engineOrder(results);
  const kept = new Set(results);
  return {
    inputs: bytesOfAll(order.filter(({ isInput }) => isInput)),
    outputs: bytesOfAll(results),
    live: peakOf(stepsOf(order, kept)),
    activations: peakOf(stepsOf(order, kept), ({ isFixed }) => !isFixed),
  };
}

/** Bytes that an arena of its own touches for what a segment has alive, with the room that it wastes. */
export function arenaOf({ outputs }: Segment, isNarrow: IsNarrow): number {
  const results = piecesOf(Object.values(outputs), isNarrow);
  const arena = new ModelArena();
  const places = new Map<Piece, number>();
  for (const { piece, isTaken } of stepsOf(engineOrder(results), new Set(results))) {
    if (!isTaken) {
      arena.give(places.get(piece)!);
      continue;
    }
    places.set(piece, arena.take(piece.bytes));
    if (piece.extra > 0) arena.give(arena.take(piece.extra));
  }
  return arena.touched;
}

/** The pieces of every output of a graph. */
function piecesOf(outputs: readonly Tensor[], isNarrow: IsNarrow): Piece[] {
  const pieces = new Map<Tensor, Piece>();
  let count = 0;
  const plainPiece = (needs: readonly Piece[], bytes: number): Piece => ({
    place: count++,
    needs,
    bytes,
    extra: 0,
    shares: null,
    isInput: false,
    isFixed: false,
  });
  let latest: Piece | null = null;
  const pieceOf = (node: Tensor): Piece => {
    const known = pieces.get(node);
    if (known) return known;
    // A parameter, by its first user: it is widened no sooner than what was lowered before that is there.
    const isWidened = isNarrow(attrsOf(node, "Param").key) && node.dtype === "f32";
    const behind = latest === null ? [] : [latest];
    const piece = { ...plainPiece(behind, isWidened ? byteSize(node) : 0), isFixed: true };
    pieces.set(node, piece);
    return piece;
  };
  for (const node of toposort(outputs)) {
    if (node.op === "Param") continue;
    const needs = node.inputs.filter((x) => !isReadInPlace(node, x, isNarrow)).map(pieceOf);
    const piece = { ...plainPiece(needs, byteSize(node)), extra: workspace(node, isNarrow) };
    const isView = node.op === "Reshape" || node.op === "After";
    const made = {
      ...piece,
      shares: isView ? needs[0] : null,
      isInput: node.op === "Input",
      isFixed: node.op !== "Input" && (isView ? needs.slice(0, 1) : needs).every(({ isFixed }) => isFixed),
      bytes: isView || node.op === "Constant" ? 0 : piece.bytes,
    };
    pieces.set(node, made);
    latest = made;
  }
  // Results are copied into tensors of their own at the end.
  return outputs.map((node) => plainPiece([pieceOf(node)], byteSize(node)));
}

/** A table that rows are gathered from is never widened as a whole, nor is a matrix that goes in pieces. */
function isReadInPlace(node: Tensor, x: Tensor, isNarrow: IsNarrow): boolean {
  if (x.op !== "Param") return false;
  return node.op === "Gather" || (node.op === "Linear" && x === node.inputs[1] && isStreamed(node, isNarrow));
}

/** Few rows against a large narrow matrix go in pieces of it, as in graph/lower.ts. */
const STREAM = { maxRows: 1024, pieceElements: 1 << 21, minElements: 1 << 22 } as const;

function isStreamed({ inputs: [x, weight] }: Tensor, isNarrow: IsNarrow): boolean {
  return (
    weight.op === "Param" &&
    isNarrow(attrsOf(weight, "Param").key) &&
    sizeOf(weight.shape) >= STREAM.minElements &&
    sizeOf(x.shape) / x.dim(-1) <= STREAM.maxRows
  );
}

/** What an operator takes beside its operands and its result. */
function workspace(node: Tensor, isNarrow: IsNarrow): number {
  if (node.op === "Linear" && isStreamed(node, isNarrow)) return 4 * STREAM.pieceElements + byteSize(node); // a piece of the matrix; the results before they are joined
  if (node.op !== "Attention") return widenedBytes(node);
  const [q, k, v, bias] = node.inputs;
  const heads = attrsOf(node, "Attention").heads;
  // Queries, keys and values head by head; with a bias all scores at once, and results head by head.
  const scores = 4 * node.dim(0) * heads * q.dim(1) * k.dim(1);
  const perHead = 4 * (sizeOf(q.shape) + sizeOf(k.shape) + sizeOf(v.shape));
  return widenedBytes(node) + perHead + (bias === undefined ? 0 : scores + byteSize(node));
}

/** A product in float16 is one of float32 for a processor: operands and result are there in both. */
function widenedBytes(node: Tensor): number {
  if (node.dtype !== "f16" || (node.op !== "Linear" && node.op !== "Attention")) return 0;
  return 4 * [node, ...node.inputs].reduce((sum, { shape }) => sum + sizeOf(shape), 0);
}

function byteSize({ shape, dtype }: Tensor): number {
  return dtypes[dtype].bytes * sizeOf(shape);
}

function bytesOfAll(pieces: readonly Piece[]): number {
  return pieces.reduce((sum, { bytes }) => sum + bytes, 0);
}

/**
 * The order in which the engine computes: from the last result backwards, and of what something needs, what stands last
 * in the graph first.
 */
function engineOrder(results: readonly Piece[]): Piece[] {
  const order: Piece[] = [];
  const seen = new Set<Piece>();
  const stack = results.map((piece) => ({ piece, isReady: false }));
  for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
    const { piece, isReady } = top;
    if (isReady) order.push(piece);
    if (isReady || seen.has(piece)) continue;
    seen.add(piece);
    stack.push({ piece, isReady: true });
    const waiting = piece.needs.filter((need) => !seen.has(need)).sort((a, b) => a.place - b.place);
    stack.push(...waiting.map((need) => ({ piece: need, isReady: false })));
  }
  return order;
}

/** What happens to a piece of memory: it is taken, or given back. */
type Step = { readonly piece: Piece; readonly isTaken: boolean };

/** Pieces are made in order, and given back after their last use. */
function* stepsOf(order: readonly Piece[], kept: ReadonlySet<Piece>): Generator<Step> {
  const lastUse = new Map<Piece, number>();
  for (const [i, { needs }] of order.entries()) for (const need of needs) lastUse.set(ownerOf(need), i);
  for (const piece of kept) lastUse.set(ownerOf(piece), order.length);
  for (const [i, piece] of order.entries()) {
    if (!piece.isInput && piece.bytes > 0) yield { piece, isTaken: true };
    for (const owner of new Set(piece.needs.map(ownerOf)))
      if (!owner.isInput && owner.bytes > 0 && lastUse.get(owner) === i)
        yield { piece: owner, isTaken: false };
  }
}

/** The highest sum of bytes alive at once, of those pieces that count. */
function peakOf(steps: Iterable<Step>, counts: (piece: Piece) => boolean = () => true): number {
  let [live, peak] = [0, 0];
  for (const { piece, isTaken } of steps) {
    if (!counts(piece)) continue;
    live += isTaken ? piece.bytes : -piece.bytes;
    if (isTaken) peak = Math.max(peak, live + piece.extra);
  }
  return peak;
}

/** The piece whose memory another one shares: reshaping and waiting make no copy. */
function ownerOf(piece: Piece): Piece {
  let owner = piece;
  while (owner.shares !== null) owner = owner.shares;
  return owner;
}
