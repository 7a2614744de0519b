/** @file Reads `spiece.model`, the protobuf file with the pieces, scores and normaliser. */
import { WeightsError } from "../../../errors.ts";
import { broken, type Field, readFields, toFloat } from "./wire-format.ts";

/** What a piece is for; only normal, user-defined and byte pieces come out of encoding text. */
export type PieceType = "normal" | "unknown" | "control" | "userDefined" | "unused" | "byte";

/** One vocabulary entry; its index in the list is its token id, `score` its log probability in float32. */
export type Piece = { text: string; score: number; type: PieceType };

/** How text is rewritten before it is cut into pieces. */
export type NormalizerSpec = {
  /** Precompiled character map (see chars-map.ts); empty when characters stay as they are. */
  charsMap: Uint8Array;
  /** Puts one space before the text, so that a word reads the same at the start and in the middle. */
  addDummyPrefix: boolean;
  /** Drops spaces at both ends and all but the first of several in a row. */
  removeExtraWhitespaces: boolean;
  /** Writes spaces as U+2581. */
  escapeWhitespaces: boolean;
};

/** A unigram SentencePiece model, from `spiece.model` or `tokenizer.json`. */
export type SentencePieceModel = {
  pieces: readonly Piece[];
  /** Id given to text that no piece covers. */
  unkId: number;
  /** Whether such text is spelled in byte pieces instead. */
  byteFallback: boolean;
  normalizer: NormalizerSpec;
  /** The file this was read from, for error messages. */
  source: string;
};

type TrainerSpec = { modelType: number; byteFallback: boolean; whitespaceAsSuffix: boolean };

const UNIGRAM = 1;
const modelTypes = ["none", "unigram", "BPE", "word", "char"];
const pieceTypes = ["", "normal", "unknown", "control", "userDefined", "unused", "byte"] as const;

/**
 * Parses the bytes of a SentencePiece model file (message ModelProto of sentencepiece_model.proto).
 * Throws WeightsError when the bytes are damaged or the model is not a unigram model that can be run here.
 */
export function parseSentencePieceModel(bytes: Uint8Array, source = "spiece.model"): SentencePieceModel {
  refusePointerFile(bytes, source);
  const pieces: Piece[] = [];
  let trainer: TrainerSpec = { modelType: UNIGRAM, byteFallback: false, whitespaceAsSuffix: false };
  let normalizer: NormalizerSpec = {
    charsMap: new Uint8Array(0),
    addDummyPrefix: true,
    removeExtraWhitespaces: true,
    escapeWhitespaces: true,
  };
  for (const field of readFields(bytes, source)) {
    if (field.wire !== "bytes") continue;
    if (field.id === 1) pieces.push(readPiece(field.bytes, pieces.length, source));
    else if (field.id === 2) trainer = readTrainerSpec(field.bytes, trainer, source);
    else if (field.id === 3) normalizer = readNormalizerSpec(field.bytes, normalizer, source);
  }
  refuseUnsupported(trainer, source);
  return checkModel(pieces, trainer.byteFallback, normalizer, source);
}

/**
 * Puts a model together after the checks of SentencePiece itself (ModelInterface::InitializePieces): exactly
 * one unknown piece, no empty and no repeated piece, all 256 byte pieces when bytes are the fallback.
 */
export function checkModel(
  pieces: readonly Piece[],
  byteFallback: boolean,
  normalizer: NormalizerSpec,
  source: string,
): SentencePieceModel {
  if (pieces.length === 0) throw broken(source, "it holds no pieces");
  const seen = new Set<string>();
  pieces.forEach((piece, id) => {
    if (piece.text === "")
      throw new WeightsError(`piece ${id} in ${source} is empty; every piece needs text`);
    if (!Number.isFinite(piece.score))
      throw new WeightsError(`piece ${id} in ${source} has score ${piece.score}; scores must be finite`);
    const key = isMatched(piece) ? piece.text : `reserved ${piece.text}`;
    if (seen.has(key))
      throw new WeightsError(`piece ${id} in ${source} repeats "${piece.text}"; every piece must occur once`);
    seen.add(key);
  });
  const unknown = pieces.filter((piece) => piece.type === "unknown").length;
  if (unknown !== 1) throw new WeightsError(`${source} has ${unknown} unknown pieces; it needs exactly one`);
  if (byteFallback) checkBytePieces(pieces, source);
  const unkId = pieces.findIndex((piece) => piece.type === "unknown");
  return { pieces, unkId, byteFallback, normalizer, source };
}

/** The text of the piece that stands for one byte, such as `<0x0A>`. */
export function bytePiece(byte: number): string {
  return `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
}

/** Whether the piece is looked for in text; control pieces may be written the same way as one that is. */
export function isMatched({ type }: Piece): boolean {
  return type === "normal" || type === "userDefined" || type === "unused";
}

function checkBytePieces(pieces: readonly Piece[], source: string) {
  const texts = new Set(pieces.filter(({ type }) => type === "byte").map(({ text }) => text));
  for (let byte = 0; byte < 256; byte++)
    if (!texts.has(bytePiece(byte)))
      throw new WeightsError(`${source} asks for byte fallback but has no piece ${bytePiece(byte)}`);
}

function refusePointerFile(bytes: Uint8Array, source: string) {
  const start = new TextDecoder().decode(bytes.subarray(0, 23));
  if (start === "version https://git-lfs")
    throw new WeightsError(
      `${source} is a Git LFS pointer, not the model; run \`git lfs pull\` in its folder`,
    );
}

function refuseUnsupported(trainer: TrainerSpec, source: string) {
  if (trainer.modelType !== UNIGRAM) {
    const name = modelTypes[trainer.modelType] ?? `number ${trainer.modelType}`;
    throw new WeightsError(`${source} is a SentencePiece model of type ${name}; T5 needs type unigram`);
  }
  if (trainer.whitespaceAsSuffix)
    throw new WeightsError(
      `${source} sets treat_whitespace_as_suffix, which T5 models do not; it is unsupported`,
    );
}

function readPiece(message: Uint8Array, id: number, source: string): Piece {
  const piece: Piece = { text: "", score: 0, type: "normal" };
  for (const field of readFields(message, source)) {
    if (field.id === 1) piece.text = readText(field, id, source);
    else if (field.id === 2 && field.wire === "fixed32") piece.score = toFloat(field);
    else if (field.id === 3) piece.type = readPieceType(field.number, id, source);
  }
  return piece;
}

function readText(field: Field, id: number, source: string): string {
  try {
    // Without ignoreBOM a piece that is U+FEFF would decode to nothing.
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(field.bytes);
  } catch {
    throw broken(source, `the text of piece ${id} is not UTF-8`);
  }
}

function readPieceType(number: number, id: number, source: string): PieceType {
  const type = pieceTypes[number];
  if (!type) throw broken(source, `piece ${id} has type ${number}, known types are 1 to 6`);
  return type;
}

function readTrainerSpec(message: Uint8Array, start: TrainerSpec, source: string): TrainerSpec {
  const spec = { ...start };
  for (const field of readFields(message, source)) {
    if (field.id === 3) spec.modelType = field.number;
    else if (field.id === 24) spec.whitespaceAsSuffix = field.number !== 0;
    else if (field.id === 35) spec.byteFallback = field.number !== 0;
  }
  return spec;
}

function readNormalizerSpec(message: Uint8Array, start: NormalizerSpec, source: string): NormalizerSpec {
  const spec = { ...start };
  for (const field of readFields(message, source)) {
    // A copy, so that the model does not keep the file alive; slice() of a Node Buffer would be a view.
    if (field.id === 2) spec.charsMap = new Uint8Array(field.bytes);
    else if (field.id === 3) spec.addDummyPrefix = field.number !== 0;
    else if (field.id === 4) spec.removeExtraWhitespaces = field.number !== 0;
    else if (field.id === 5) spec.escapeWhitespaces = field.number !== 0;
  }
  return spec;
}
