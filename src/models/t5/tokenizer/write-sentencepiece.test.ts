/** @file A model made from words, read back and used: words are one piece, unknown ones are spelled. */
import { describe, expect, test } from "vitest";
import { ConfigError } from "../../../errors.ts";
import { parseSentencePieceModel } from "./sentencepiece-model.ts";
import { createT5Tokenizer } from "./tokenizer.ts";
import { wordPieces, writeSentencePieceModel } from "./write-sentencepiece.ts";

const list = {
  words: ["A", "a", "red", "circle", "circles", "left-hand", "moves"],
  punctuation: [",", ".", "-"],
};
const model = parseSentencePieceModel(writeSentencePieceModel(wordPieces(list)));
const tokenizer = createT5Tokenizer(model, { extraIds: 0 });

function piecesOf(text: string): string[] {
  return tokenizer.encode(text).map((id) => model.pieces[id].text);
}

describe("writeSentencePieceModel", () => {
  test("writes what the reader reads", () => {
    expect(model.pieces).toEqual(wordPieces(list));
    expect(model.unkId).toBe(2);
    expect(model.normalizer).toEqual({
      charsMap: new Uint8Array(0),
      addDummyPrefix: true,
      removeExtraWhitespaces: true,
      escapeWhitespaces: true,
    });
  });
});

describe("wordPieces", () => {
  test("puts the special pieces where T5 has them, then every word", () => {
    const texts = wordPieces(list).map(({ text }) => text);
    expect(texts.slice(0, 5)).toEqual(["<pad>", "</s>", "<unk>", "▁A", "▁a"]);
    expect(tokenizer.numTokens).toBe(texts.length);
  });

  // The ids of the first four are those of C++ SentencePiece 0.2.3 for the same file.
  test.each([
    ["A red circle, moves.", "▁A ▁red ▁circle , ▁moves . </s>"],
    ["  circles   a left-hand ", "▁circles ▁a ▁left-hand </s>"],
    ["red - circle -", "▁red ▁- ▁circle ▁- </s>"],
    ["a redder RED", "▁a ▁red d e r ▁ R E D </s>"],
    ["é", "▁ <unk> </s>"],
    ["", "</s>"],
  ])("cuts %j", (text, pieces) => expect(piecesOf(text)).toEqual(pieces.split(" ")));

  test.each([
    [{ ...list, words: ["a b"] }, 'words has "a b"'],
    [{ ...list, words: ["a", "a"] }, 'words has "a" twice'],
    [{ ...list, punctuation: [""] }, 'punctuation has ""'],
  ])("refuses texts that cannot be pieces", (broken, message) => {
    expect(() => wordPieces(broken)).toThrow(ConfigError);
    expect(() => wordPieces(broken)).toThrow(message);
  });
});
