/** @file The T5 tokenizer: text to token ids as the text encoder takes them, closed, cut and padded. */
import { ConfigError, WeightsError } from "../../../errors.ts";
import { createNormalizer } from "./normalizer.ts";
import { buildPieceTrie } from "./piece-trie.ts";
import type { SentencePieceModel } from "./sentencepiece-model.ts";
import { createUnigramEncoder } from "./unigram.ts";

/** `ids` has the asked length; `truncatedText` is the text that did not fit, null when all of it did. */
export type PaddedTokens = { ids: Int32Array; truncatedText: string | null };

/** Turns prompts into token ids and back. It holds no state: calls do not influence each other. */
export interface T5Tokenizer {
  /** One more than the highest id, 32,100 for T5; the embedding table may have more rows. */
  readonly numTokens: number;
  /** Token ids of the text, `</s>` at the end; "" gives [1]. */
  encode(text: string): number[];
  /**
   * Token ids cut or padded with `<pad>` to `maxLength`, 226 for CogVideoX 1.0. A cut text keeps
   * maxLength - 1 pieces and `</s>`. Throws ConfigError when maxLength is no positive integer.
   */
  encodePadded(text: string, maxLength: number): PaddedTokens;
  /** Normalised text of the ids, special tokens as they are written. Throws ConfigError for an unknown id. */
  decode(ids: ArrayLike<number>): string;
}

export type T5TokenizerOptions = {
  /** Number of sentinels `<extra_id_N>`; they take the ids after the model's pieces, the last one first. */
  extraIds?: number;
  /** More special tokens with their ids, as listed in `tokenizer_config.json` or `tokenizer.json`. */
  addedTokens?: ReadonlyMap<string, number>;
  /** Whether special tokens written in the text become their id (the reference's way) or are read as text. */
  specialTokensInText?: boolean;
};

const encoder = new TextEncoder();

/**
 * Builds a tokenizer that gives the ids of the reference, transformers' T5Tokenizer on SentencePiece, with
 * which the released checkpoints run (version 4, `legacy: true`). Version 5 differs: it adds `</s>` even to a
 * text that ends in it, and splits at spaces that SentencePiece does not know. Lone surrogates are read as U+FFFD.
 * Throws WeightsError when the model has no `</s>` or `<pad>`, ConfigError when `extraIds` is no count.
 */
export function createT5Tokenizer(model: SentencePieceModel, options: T5TokenizerOptions = {}): T5Tokenizer {
  const { extraIds = 100, specialTokensInText = true } = options;
  const eosId = findControl(model, "</s>");
  const padId = findControl(model, "<pad>");
  const specialTokens = collectSpecialTokens(model, extraIds, options.addedTokens);
  const encodeText = createTextEncoder(model);
  const split = specialTokensInText ? createSplitter(specialTokens) : (text: string) => [text];
  const contents = new Map([...specialTokens].map(([content, id]) => [id, content]));

  const encodePieces = (text: string) =>
    split(text).flatMap((part, i) => (i % 2 === 1 ? [specialTokens.get(part)!] : encodeText(part)));
  // As in the reference, text that itself ends in "</s>" gets no second one.
  const withEos = (ids: number[]) => (ids.at(-1) === eosId ? ids : [...ids, eosId]);
  const decode = (ids: ArrayLike<number>) => decodeIds(model, contents, ids);

  return {
    numTokens: [...contents.keys()].reduce((most, id) => Math.max(most, id + 1), model.pieces.length),
    encode: (text) => withEos(encodePieces(text)),
    encodePadded(text, maxLength) {
      if (!Number.isInteger(maxLength) || maxLength < 1)
        throw new ConfigError(
          `the maximum prompt length must be a positive number of tokens, got ${maxLength}`,
        );
      const pieces = encodePieces(text);
      const ids = new Int32Array(maxLength).fill(padId);
      ids.set(withEos(pieces.slice(0, maxLength - 1)));
      const all = withEos(pieces);
      return { ids, truncatedText: all.length > maxLength ? decode(all.slice(maxLength - 1, -1)) : null };
    },
    decode,
  };
}

function findControl(model: SentencePieceModel, text: string): number {
  const id = model.pieces.findIndex((piece) => piece.text === text && piece.type === "control");
  if (id < 0) throw new WeightsError(`${model.source} has no control piece ${text}; T5 models have one`);
  return id;
}

function collectSpecialTokens(
  model: SentencePieceModel,
  extraIds: number,
  addedTokens: ReadonlyMap<string, number> = new Map(),
): Map<string, number> {
  if (!Number.isInteger(extraIds) || extraIds < 0 || extraIds > 10_000)
    throw new ConfigError(`extraIds must be a count of sentinels from 0 to 10000, got ${extraIds}`);
  const tokens = new Map<string, number>();
  for (const name of ["<pad>", "</s>"]) tokens.set(name, findControl(model, name));
  tokens.set(model.pieces[model.unkId].text, model.unkId);
  for (let n = 0; n < extraIds; n++) tokens.set(`<extra_id_${n}>`, model.pieces.length + extraIds - 1 - n);
  for (const [content, id] of addedTokens) tokens.set(content, id);
  return tokens;
}

function createTextEncoder(model: SentencePieceModel): (text: string) => number[] {
  const userDefined = model.pieces.filter(({ type }) => type === "userDefined");
  const matcher =
    userDefined.length > 0
      ? buildPieceTrie(
          userDefined.map(({ text }, i) => [text, i] as const),
          model.source,
        )
      : null;
  const normalize = createNormalizer(model.normalizer, matcher, model.source);
  const encodeUnigram = createUnigramEncoder(model);
  return (text) => encodeUnigram(normalize(encoder.encode(text)));
}

/** Cuts text at special tokens, the longest first; the parts at odd places are the tokens. */
function createSplitter(specialTokens: ReadonlyMap<string, number>): (text: string) => string[] {
  const alternatives = [...specialTokens.keys()]
    .filter((content) => content !== "")
    .sort((a, b) => b.length - a.length)
    .map((content) => content.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&"));
  const pattern = new RegExp(`(${alternatives.join("|")})`);
  return (text) => text.split(pattern);
}

function decodeIds(
  model: SentencePieceModel,
  specialTokens: ReadonlyMap<number, string>,
  ids: ArrayLike<number>,
): string {
  const bytes: number[] = [];
  for (const id of Array.from(ids)) {
    const piece = model.pieces[id];
    const text = specialTokens.get(id) ?? piece?.text;
    if (text === undefined) throw new ConfigError(`token id ${id} is not in ${model.source}`);
    if (piece?.type === "byte") bytes.push(Number(text.slice(1, -1)));
    else bytes.push(...encoder.encode(text));
  }
  const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(new Uint8Array(bytes));
  return text.replaceAll("\u2581", " ").replace(/^ /, "");
}
