/** @file Reads `tokenizer.json`, the format of the `tokenizers` library, as a SentencePiece model. */
import { WeightsError } from "../../../errors.ts";
import {
  checkModel,
  type NormalizerSpec,
  type Piece,
  type SentencePieceModel,
} from "./sentencepiece-model.ts";

/** The model in the file, and all special tokens with their ids, sentinels among them. */
export type TokenizerJson = { model: SentencePieceModel; addedTokens: ReadonlyMap<string, number> };

type Json = Record<string, unknown>;

type AddedToken = { id: number; content: string; special: boolean };

/**
 * Reads a parsed `tokenizer.json` of a T5 model, for folders that have no `spiece.model`; go on with
 * `createT5Tokenizer(model, { extraIds: 0, addedTokens })`. Text is then encoded as C++ SentencePiece does;
 * the `tokenizers` library itself breaks score ties in another order and normalises whole grapheme clusters.
 * Throws WeightsError when a part is missing or is none that T5 files have.
 */
export function readTokenizerJson(json: unknown, source = "tokenizer.json"): TokenizerJson {
  const file = asObject(json, "the file", source);
  const model = asObject(file.model, "model", source);
  if (model.type !== undefined && model.type !== "Unigram")
    throw wrong(source, "model.type", model.type, `"Unigram"`);
  checkTemplate(file.post_processor, source);
  const addedTokens = readAddedTokens(file.added_tokens, source);
  const pieces = readVocabulary(model, addedTokens, source);
  const normalizer = readNormalizer(file.normalizer, file.pre_tokenizer, source);
  return {
    model: checkModel(pieces, model.byte_fallback === true, normalizer, source),
    addedTokens: new Map(addedTokens.map(({ content, id }) => [content, id])),
  };
}

function readAddedTokens(json: unknown, source: string): AddedToken[] {
  return asArray(json ?? [], "added_tokens", source).map((entry, i) => {
    const { id, content, special } = asObject(entry, `added_tokens[${i}]`, source);
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0)
      throw wrong(source, `added_tokens[${i}].id`, id, "a token id");
    if (typeof content !== "string") throw wrong(source, `added_tokens[${i}].content`, content, "a text");
    return { id, content, special: special === true };
  });
}

/** Scores are stored in decimal but were float32, so rounding gives back the exact value. */
function readVocabulary(model: Json, addedTokens: readonly AddedToken[], source: string): Piece[] {
  const special = new Set(addedTokens.filter((token) => token.special).map((token) => token.id));
  return asArray(model.vocab, "model.vocab", source).map((entry, id): Piece => {
    const [text, score] = Array.isArray(entry) ? (entry as unknown[]) : [];
    if (typeof text !== "string" || typeof score !== "number")
      throw wrong(source, `model.vocab[${id}]`, entry, "a pair of text and score");
    return { text, score: Math.fround(score), type: pieceType(model, text, id, special) };
  });
}

function pieceType(model: Json, text: string, id: number, special: ReadonlySet<number>): Piece["type"] {
  if (id === model.unk_id) return "unknown";
  if (special.has(id)) return "control";
  return model.byte_fallback === true && /^<0x[0-9A-F]{2}>$/.test(text) ? "byte" : "normal";
}

function readNormalizer(normalizer: unknown, preTokenizer: unknown, source: string): NormalizerSpec {
  const rules = flatten(normalizer, "normalizer", "normalizers", source);
  const cuts = flatten(preTokenizer, "pre_tokenizer", "pretokenizers", source);
  checkTypes(rules, ["Precompiled", "Strip", "Replace"], "normalizer", source);
  checkTypes(cuts, ["WhitespaceSplit", "Metaspace"], "pre_tokenizer", source);
  const metaspace = cuts.find(({ type }) => type === "Metaspace");
  if (metaspace?.replacement !== "\u2581")
    throw wrong(source, "the Metaspace replacement", metaspace?.replacement, `"\u2581" (U+2581)`);
  return {
    charsMap: readPrecompiled(rules, source),
    addDummyPrefix: metaspace.prepend_scheme !== "never" && metaspace.add_prefix_space !== false,
    removeExtraWhitespaces: cuts.some(isType("WhitespaceSplit")) || rules.some(isType("Replace")),
    escapeWhitespaces: true,
  };
}

function readPrecompiled(rules: readonly Json[], source: string): Uint8Array {
  const rule = rules.find(isType("Precompiled"));
  const base64 = rule?.precompiled_charsmap ?? "";
  try {
    return Uint8Array.from(atob(base64 as string), (character) => character.charCodeAt(0));
  } catch {
    throw new WeightsError(`precompiled_charsmap in ${source} must be base64; it cannot be decoded`);
  }
}

/** T5 files end every text with `</s>` and add nothing else. */
function checkTemplate(json: unknown, source: string) {
  const { type, single } = asObject(json, "post_processor", source);
  if (type !== "TemplateProcessing") throw wrong(source, "post_processor.type", type, `"TemplateProcessing"`);
  const parts = asArray(single, "post_processor.single", source).map((part) => {
    const { Sequence, SpecialToken } = asObject(part, "post_processor.single", source);
    const { id } = asObject(SpecialToken ?? Sequence, "post_processor.single", source);
    return SpecialToken === undefined ? "text" : id;
  });
  if (parts.length !== 2 || parts[0] !== "text" || parts[1] !== "</s>")
    throw wrong(source, "post_processor.single", parts.join(" "), `the text and "</s>"`);
}

/** A step, the steps of a Sequence, or nothing. */
function flatten(json: unknown, name: string, listName: string, source: string): Json[] {
  if (json === null || json === undefined) return [];
  const step = asObject(json, name, source);
  if (step.type !== "Sequence") return [step];
  return asArray(step[listName], `${name}.${listName}`, source).map((entry, i) =>
    asObject(entry, `${name}.${listName}[${i}]`, source),
  );
}

function checkTypes(steps: readonly Json[], known: readonly string[], name: string, source: string) {
  for (const { type } of steps)
    if (!known.includes(type as string)) throw wrong(source, `a ${name} step`, type, known.join(", "));
}

function isType(type: string): (step: Json) => boolean {
  return (step) => step.type === type;
}

function asObject(json: unknown, name: string, source: string): Json {
  if (typeof json !== "object" || json === null || Array.isArray(json))
    throw wrong(source, name, json, "an object");
  return json as Json;
}

function asArray(json: unknown, name: string, source: string): unknown[] {
  if (!Array.isArray(json)) throw wrong(source, name, json, "a list");
  return json;
}

function wrong(source: string, name: string, value: unknown, right: string): WeightsError {
  const shown = (JSON.stringify(value) ?? "nothing").slice(0, 80);
  return new WeightsError(`${name} in ${source} is ${shown}; a T5 tokenizer file has ${right} there`);
}
