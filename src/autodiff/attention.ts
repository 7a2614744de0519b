/** @file Derivatives of attention, in tiles so that no S x S matrix is held, and of the rotary embedding. */
// B batch, H heads, Q queries, K keys, d channels per head
import { after, concat, rotary, softmax } from "../graph/functions.ts";
import type { Tensor } from "../graph/tensor.ts";
import { type Backward, type Gradients, type Rules, unbroadcast, zerosLike } from "./rule.ts";

/** Scores that one tile may have: B · heads of the tile · queries of the tile · K. 2²⁴ are 64 MiB in float32. */
const TILE_ELEMENTS = 2 ** 24;

/** A tile covers fewer heads before it covers fewer queries than this: products of few rows are slow. */
const MIN_QUERIES = 256;

export const attentionRules = {
  Attention: (backward) => attentionGradients(backward),
  // The transposed rotation is the one by the opposite angle. Its rows are tables: nothing passes to them.
  Rotary: ({ g, x: [, cos, sin], attrs: { heads } }) => [rotary(g, cos, sin.neg(), heads)],
} satisfies Rules;

/** Sizes of the tiles for B · K scores per head and query. */
export function tileSizes(
  { batch, heads, queries, keys }: Record<"batch" | "heads" | "queries" | "keys", number>,
  limit = TILE_ELEMENTS,
): { readonly heads: number; readonly queries: number } {
  const perQuery = batch * keys;
  const rows = Math.min(queries, MIN_QUERIES);
  const group = Math.min(heads, Math.max(1, Math.floor(limit / (perQuery * rows))));
  return { heads: group, queries: Math.min(queries, Math.max(1, Math.floor(limit / (perQuery * group)))) };
}

/** Everything of one group of heads, `[B, H, S, d]`. */
type Group = {
  readonly g: Tensor;
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  /** Σ over channels of g · y, `[B, H, Q, 1]`: what the softmax takes off every score of a query. */
  readonly drift: Tensor;
  /** `[B, H, Q, K]` or broadcast to it. */
  readonly bias: Tensor | undefined;
};

type Tile = { readonly gq: Tensor; readonly gk: Tensor; readonly gv: Tensor; readonly gBias: Tensor | null };

/**
 * Gradients of attention, with the probabilities P computed again: gv = Pᵀ g, and for the scores P (g vᵀ - Σ g y), which
 * go on to q, k and the bias. `limit` bounds the scores of a tile, see `tileSizes`.
 */
export function attentionGradients(
  { g, x: [q, k, v, bias], y, needs, attrs: { heads, scale } }: Backward<"Attention">,
  limit = TILE_ELEMENTS,
): Gradients {
  const [batch, queries] = q.shape;
  const tile = tileSizes({ batch, heads, queries, keys: k.dim(1) }, limit);
  const [gh, qh, kh, vh, yh] = [g, q, k, v, y].map((x) => splitHeads(x, heads));
  const all: Group = { g: gh, q: qh, k: kh, v: vh, drift: gh.mul(yh).sum([-1], true), bias };
  const groups: Tile[] = [];
  for (let start = 0; start < heads; start += tile.heads) {
    const group = headsOf(all, start, Math.min(start + tile.heads, heads));
    groups.push(throughGroup(group, tile.queries, scale, groups.at(-1)?.gq));
  }
  const joined = (pick: (part: Tile) => Tensor) => joinHeads(concat(groups.map(pick), 1));
  const gBias = bias && needs[3] ? biasGradient(groups, bias, 1) : null;
  return [joined((part) => part.gq), joined((part) => part.gk), joined((part) => part.gv), gBias];
}

/** One group of heads, a tile of queries after the other so that the scores of one are gone before the next come. */
function throughGroup(group: Group, rows: number, scale: number, earlier?: Tensor): Tile {
  const queries = group.q.dim(2);
  const tiles: Tile[] = [];
  for (let start = 0; start < queries; start += rows) {
    const tile = queriesOf(group, start, Math.min(start + rows, queries));
    const last = tiles.at(-1)?.gq ?? earlier;
    tiles.push(throughTile(last === undefined ? tile : { ...tile, q: after(tile.q, last) }, scale));
  }
  const gBias = group.bias ? biasGradient(tiles, group.bias, 2) : null;
  const sum = (pick: (part: Tile) => Tensor) => tiles.map(pick).reduce((a, b) => a.add(b));
  const gq = concat(
    tiles.map((part) => part.gq),
    2,
  );
  return { gq, gk: sum((part) => part.gk), gv: sum((part) => part.gv), gBias };
}

function throughTile({ g, q, k, v, drift, bias }: Group, scale: number): Tile {
  const scores = q.matmul(k, { transB: true }).mul(scale); // [B, H, Q, K]
  const p = softmax(bias ? scores.add(bias) : scores);
  const gScores = p.mul(g.matmul(v, { transB: true }).sub(drift));
  const scaled = gScores.mul(scale);
  return {
    gq: scaled.matmul(k),
    gk: scaled.matmul(q, { transA: true }),
    gv: p.matmul(g, { transA: true }),
    gBias: bias ? unbroadcast(gScores, bias.shape) : null,
  };
}

/** Parts of the bias' gradient side by side along `axis`, or added up where the bias was repeated along it. */
function biasGradient(parts: readonly Tile[], bias: Tensor, axis: 1 | 2): Tensor {
  const gradients = parts.map((part) => part.gBias ?? zerosLike(bias));
  const aligned = bias.shape.length - 4 + axis;
  const isRepeated = (bias.shape[aligned] ?? 1) === 1;
  return isRepeated ? gradients.reduce((a, b) => a.add(b)) : concat(gradients, aligned);
}

function headsOf({ bias, ...group }: Group, start: number, end: number): Group {
  return {
    ...sliced(group, ["g", "q", "k", "v", "drift"], 1, start, end),
    bias: biasOf(bias, 1, start, end),
  };
}

function queriesOf({ bias, ...group }: Group, start: number, end: number): Group {
  return { ...sliced(group, ["g", "q", "drift"], 2, start, end), bias: biasOf(bias, 2, start, end) };
}

function sliced<T extends Readonly<Record<string, Tensor | undefined>>>(
  group: T,
  keys: readonly (keyof T)[],
  axis: number,
  start: number,
  end: number,
): T {
  const cut = keys.map((key) => [key, group[key] && sliceOf(group[key], axis, start, end)]);
  return { ...group, ...Object.fromEntries(cut) };
}

function biasOf(bias: Tensor | undefined, axis: 1 | 2, start: number, end: number): Tensor | undefined {
  if (bias === undefined) return undefined;
  const aligned = bias.shape.length - 4 + axis;
  return (bias.shape[aligned] ?? 1) === 1 ? bias : sliceOf(bias, aligned, start, end);
}

function sliceOf(x: Tensor, axis: number, start: number, end: number): Tensor {
  return start === 0 && end === x.shape[axis] ? x : x.slice(axis, start, end);
}

/** `[B, S, H · d]` to `[B, H, S, d]`. */
function splitHeads(x: Tensor, heads: number): Tensor {
  const [batch, tokens, width] = x.shape;
  return x.reshape([batch, tokens, heads, width / heads]).transpose([0, 2, 1, 3]);
}

/** And back. */
function joinHeads(x: Tensor): Tensor {
  const [batch, , tokens] = x.shape;
  return x.transpose([0, 2, 1, 3]).reshape([batch, tokens, -1]);
}
