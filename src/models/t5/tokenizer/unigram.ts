/** @file Cuts normalised text into the pieces with the highest total score (unigram_model.cc). */
import { charLength } from "./normalizer.ts";
import { buildPieceTrie, type PieceTrie } from "./piece-trie.ts";
import { bytePiece, isMatched, type PieceType, type SentencePieceModel } from "./sentencepiece-model.ts";

/** Normalised UTF-8 in, token ids out. */
export type UnigramEncoder = (text: Uint8Array) => number[];

/** The best way to each byte position: its last piece, where that piece starts, and the total score. */
type Lattice = { ids: Int32Array; starts: Int32Array; scores: Float32Array };

type Unigram = {
  trie: PieceTrie;
  scores: Float32Array;
  types: readonly PieceType[];
  unkId: number;
  unkScore: number;
};

const UNK_PENALTY = 10;
const RESET_THRESHOLD = 100_000;

/** Builds the encoder for a model; the ids are those of C++ SentencePiece 0.2.2 and later, ties included. */
export function createUnigramEncoder(model: SentencePieceModel): UnigramEncoder {
  const found = model.pieces.map((piece, id) => ({ ...piece, id })).filter(isMatched);
  const unigram: Unigram = {
    trie: buildPieceTrie(
      found.map(({ text, id }) => [text, id] as const),
      model.source,
    ),
    scores: Float32Array.from(model.pieces, ({ score }) => score),
    types: model.pieces.map(({ type }) => type),
    unkId: model.unkId,
    unkScore: Math.fround(minNormalScore(model) - UNK_PENALTY),
  };
  const byteIds = model.byteFallback ? bytePieceIds(model) : null;
  return (text) =>
    text.length === 0 ? [] : collectIds(bestPaths(unigram, text), text, model.unkId, byteIds);
}

function minNormalScore(model: SentencePieceModel): number {
  let minScore = 2 ** 128 - 2 ** 104; // FLT_MAX, for a model without normal pieces
  for (const { type, score } of model.pieces) if (type === "normal") minScore = Math.min(minScore, score);
  return minScore;
}

function bytePieceIds(model: SentencePieceModel): number[] {
  const ids = new Map(model.pieces.map(({ text, type }, id) => [type === "byte" ? text : "", id]));
  // checkModel has seen that all of them are there.
  return Array.from({ length: 256 }, (_, byte) => ids.get(bytePiece(byte))!);
}

/**
 * Viterbi over byte positions. Ties are decided as in EncodeOptimized: pieces are tried in the order of their
 * start, then of their length, sums are rounded to float32, and only a higher sum replaces an earlier one.
 * (Versions up to 0.2.1 compared before rounding: in 20,000 lines of text 24 differ, rulers and hashes.)
 */
function bestPaths(unigram: Unigram, text: Uint8Array): Lattice {
  const { trie, types } = unigram;
  const lattice: Lattice = {
    ids: new Int32Array(text.length + 1),
    starts: new Int32Array(text.length + 1).fill(-1),
    scores: new Float32Array(text.length + 1),
  };
  for (let start = 0, length = 0; start < text.length; start += length) {
    resetScores(lattice, start);
    length = Math.min(charLength(text[start]), text.length - start);
    let covered = false;
    let node = trie.step(0, text[start]);
    for (let end = start + 1; node >= 0; end++) {
      const id = trie.idAt(node);
      if (id >= 0 && types[id] !== "unused") {
        offer(lattice, start, end, id, scoreOf(unigram, id, end - start));
        covered ||= end - start === length;
      }
      node = end < text.length ? trie.step(node, text[end]) : -1;
    }
    if (!covered) offer(lattice, start, start + length, unigram.unkId, unigram.unkScore);
  }
  return lattice;
}

/** Keeps float32 precise in very long texts: once the sum is large, counts on from zero at `start`. */
function resetScores({ starts, scores }: Lattice, start: number) {
  const offset = scores[start];
  if (Math.abs(offset) <= RESET_THRESHOLD) return;
  for (let i = start; i < scores.length; i++) if (starts[i] !== -1) scores[i] -= offset;
}

/** Pieces the user defined beat any cut into normal pieces, and few long ones beat many short ones. */
function scoreOf({ types, scores }: Unigram, id: number, length: number): number {
  return types[id] === "userDefined" ? Math.fround(0.1 * (length - 1)) : scores[id];
}

function offer({ ids, starts, scores }: Lattice, start: number, end: number, id: number, score: number) {
  const sum = Math.fround(scores[start] + score);
  if (starts[end] !== -1 && sum <= scores[end]) return;
  ids[end] = id;
  starts[end] = start;
  scores[end] = sum;
}

/** Walks back; unknown pieces in a row become one, or their bytes (PopulateSentencePieceText). */
function collectIds(lattice: Lattice, text: Uint8Array, unkId: number, byteIds: number[] | null): number[] {
  const reversed: number[] = [];
  let afterUnknown = false;
  for (let end = text.length, start = 0; end > 0; end = start) {
    start = lattice.starts[end];
    const id = lattice.ids[end];
    if (id === unkId && byteIds) for (let i = end - 1; i >= start; i--) reversed.push(byteIds[text[i]]);
    else if (id !== unkId || !afterUnknown) reversed.push(id);
    afterUnknown = id === unkId;
  }
  return reversed.reverse();
}
