/** @file Makes a `spiece.model` from a list of words: one piece a word, and characters for everything else. */
import { ConfigError } from "../../../errors.ts";
import { Message } from "../../../graph/protobuf.ts";
import type { Piece, PieceType } from "./sentencepiece-model.ts";

/** What a tokenizer of whole words knows. Upper and lower case are different words. */
export type WordList = {
  /** Words without spaces, such as `red` or `left-hand`; each becomes the piece `▁word`. */
  readonly words: readonly string[];
  /** Marks such as `,`; each becomes two pieces, one that follows a word and one that follows a space. */
  readonly punctuation: readonly string[];
};

const SPACE = "\u2581";

/**
 * Log probabilities. Equal ones make the cut with the fewest pieces win, so that a known word is one piece whatever
 * other words it begins with; a character costs more than any two words.
 */
const WORD_SCORE = -8;
const CHARACTER_SCORE = -20;

const typeNumbers: Readonly<Record<PieceType, number>> = {
  normal: 1,
  unknown: 2,
  control: 3,
  userDefined: 4,
  unused: 5,
  byte: 6,
};

/**
 * The pieces of a word list, in the order of their ids: `<pad>` 0, `</s>` 1, `<unk>` 2 as in T5, then words,
 * punctuation, and the printable ASCII characters with `▁`, in which unknown words are spelled. Other characters
 * have no piece.
 * @throws ConfigError for a word or mark that is empty, repeated, or holds a space
 */
export function wordPieces({ words, punctuation }: WordList): Piece[] {
  for (const [kind, texts] of Object.entries({ words, punctuation })) checkTexts(kind, texts);
  const marks = punctuation.flatMap((mark) => [mark, SPACE + mark]);
  const known = new Set([...words.map((word) => SPACE + word), ...marks]);
  const characters = [SPACE, ...printableAscii()].filter((character) => !known.has(character));
  return [
    { text: "<pad>", score: 0, type: "control" },
    { text: "</s>", score: 0, type: "control" },
    { text: "<unk>", score: 0, type: "unknown" },
    ...[...known].map((text) => ({ text, score: WORD_SCORE, type: "normal" as const })),
    ...characters.map((text) => ({ text, score: CHARACTER_SCORE, type: "normal" as const })),
  ];
}

/**
 * The bytes of a unigram model (message ModelProto of sentencepiece_model.proto) whose normaliser leaves characters
 * as they are, drops extra spaces and begins every text with one. Ids of special pieces are those of T5.
 */
export function writeSentencePieceModel(pieces: readonly Piece[]): Uint8Array {
  const model = new Message();
  for (const { text, score, type } of pieces)
    model.message(1, new Message().string(1, text).float(2, score).int(3, typeNumbers[type]));
  const [UNIGRAM, NONE] = [1, -1];
  const idOf = (text: string) => pieces.findIndex((piece) => piece.text === text);
  const trainer = new Message()
    .int(3, UNIGRAM)
    .int(4, pieces.length)
    .int(40, idOf("<unk>"))
    .int(41, NONE) // no piece begins a text
    .int(42, idOf("</s>"))
    .int(43, idOf("<pad>"));
  const normalizer = new Message().string(1, "identity").int(3, 1).int(4, 1).int(5, 1);
  return model.message(2, trainer).message(3, normalizer).finish();
}

function checkTexts(kind: string, texts: readonly string[]): void {
  const seen = new Set<string>();
  for (const text of texts) {
    if (text === "" || /\s|\u2581/.test(text))
      throw new ConfigError(`${kind} has ${JSON.stringify(text)}; give text without spaces`);
    if (seen.has(text)) throw new ConfigError(`${kind} has ${JSON.stringify(text)} twice; name it once`);
    seen.add(text);
  }
}

function printableAscii(): string[] {
  return Array.from({ length: 0x7e - 0x20 }, (_, i) => String.fromCharCode(0x21 + i));
}
