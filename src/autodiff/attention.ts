/** @file Derivatives of attention, in tiles so that no S x S matrix is held, and of the rotary embedding. */
// B batch, H heads, Q queries, K keys, d channels per head
import { after, concat, rotary, softmax } from "../graph/functions.ts";
import type { Tensor } from "../graph/tensor.ts";
import { type Backward, filled, type Gradients, type Rules, unbroadcast, zerosLike } from "./rule.ts";

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
  /** Already multiplied by the scale. */
  readonly q: Tensor;
  readonly k: Tensor;
  /** g with one channel more: minus Σ g · y, what the softmax takes off every score of a query. */
  readonly pull: Tensor;
  /** v with one channel more: ones, so that pull · push is g vᵀ - Σ g y without another pass over the scores. */
  readonly push: Tensor;
  /** `[B, H, Q, K]` or broadcast to it. */
  readonly bias: Tensor | undefined;
};

type Tile = { readonly gq: Tensor; readonly gk: Tensor; readonly gv: Tensor; readonly gBias: Tensor | null };

/**
 * Gradients of attention, with the probabilities P computed again: gv = Pᵀ g, and P (g vᵀ - Σ g y) for the scores, which
 * goes on to q, k and the bias. `limit` bounds the scores of a tile, see `tileSizes`.
 */
export function attentionGradients(backward: Backward<"Attention">, limit = TILE_ELEMENTS): Gradients {
  const { x, needs, attrs } = backward;
  const { heads, scale } = attrs;
  const [q, k, , bias] = x;
  const tile = tileSizes({ batch: q.dim(0), heads, queries: q.dim(1), keys: k.dim(1) }, limit);
  const all = operandsOf(backward);
  const groups: Tile[] = [];
  for (let start = 0; start < heads; start += tile.heads) {
    const group = headsOf(all, start, Math.min(start + tile.heads, heads));
    groups.push(throughGroup(group, tile.queries, groups.at(-1)));
  }
  const joined = (pick: (part: Tile) => Tensor) => joinHeads(concat(groups.map(pick), 1));
  const gBias = bias && needs[3] ? biasGradient(groups, bias, 1) : null;
  return [joined((part) => part.gq).mul(scale), joined((part) => part.gk), joined((part) => part.gv), gBias];
}

function operandsOf({ g: gy, x, y, attrs: { heads, scale } }: Backward<"Attention">): Group {
  const [g, q, k, v] = [gy, x[0].mul(scale), x[1], x[2]].map((t) => splitHeads(t, heads));
  const drift = g.mul(splitHeads(y, heads)).sum([-1], true);
  const ones = filled(1, v.shape.with(-1, 1), v.dtype);
  return { g, q, k, pull: concat([g, drift.neg()], -1), push: concat([v, ones], -1), bias: x[3] };
}

/** One group of heads, a tile of queries after the other. */
function throughGroup(group: Group, rows: number, earlier?: Tile): Tile {
  const queries = group.q.dim(2);
  const parts: Tile[] = [];
  let last = earlier;
  let total: Pick<Tile, "gk" | "gv"> | undefined;
  for (let start = 0; start < queries; start += rows) {
    const tile = queriesOf(group, start, Math.min(start + rows, queries));
    const part = throughTile(last ? waitFor(last, tile) : tile);
    total = total ? { gk: total.gk.add(part.gk), gv: total.gv.add(part.gv) } : part;
    last = { ...part, ...total };
    parts.push(last);
  }
  const gq = concat(
    parts.map((part) => part.gq),
    2,
  );
  return { ...parts[parts.length - 1], gq, gBias: group.bias ? biasGradient(parts, group.bias, 2) : null };
}

/** Keeps the engine from computing scores of a tile while those of the one before it are still in use. */
function waitFor({ gq, gk, gv }: Tile, tile: Group): Group {
  return { ...tile, q: after(after(tile.q, gk), gq), pull: after(tile.pull, gv) };
}

function throughTile({ g, q, k, pull, push, bias }: Group): Tile {
  const scores = q.matmul(k, { transB: true }); // [B, H, Q, K]
  const p = softmax(bias ? scores.add(bias) : scores);
  const gScores = p.mul(pull.matmul(push, { transB: true }));
  return {
    gq: gScores.matmul(k),
    gk: gScores.matmul(q, { transA: true }),
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
    ...sliced(group, ["g", "q", "k", "pull", "push"], 1, start, end),
    bias: biasOf(bias, 1, start, end),
  };
}

function queriesOf({ bias, ...group }: Group, start: number, end: number): Group {
  return { ...sliced(group, ["g", "q", "pull"], 2, start, end), bias: biasOf(bias, 2, start, end) };
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
