/** @file Reading spiece.model: what is in it, and what damaged files say. */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { WeightsError } from "../../../errors.ts";
import { parseSentencePieceModel } from "./sentencepiece-model.ts";
import { createT5Tokenizer } from "./tokenizer.ts";

const folder = new URL("../../../../test/fixtures/tokenizer/", import.meta.url);
const bytes = new Uint8Array(readFileSync(new URL("spiece.model", folder)));

/** A message from fields written by hand: [tag byte, content]. */
function message(...fields: readonly (readonly [tag: number, content: readonly number[] | string])[]) {
  return new Uint8Array(
    fields.flatMap(([tag, content]) => {
      const body = typeof content === "string" ? [...new TextEncoder().encode(content)] : content;
      return (tag & 7) === 2 ? [tag, body.length, ...body] : [tag, ...body];
    }),
  );
}

function piece(text: string, type: number) {
  return [...message([0x0a, text], [0x18, [type]])];
}

describe("parseSentencePieceModel", () => {
  test("reads pieces with float32 scores and types, and the normaliser", () => {
    const model = parseSentencePieceModel(bytes);
    expect(model.pieces).toHaveLength(700);
    expect(model.pieces.slice(0, 4)).toEqual([
      { text: "<pad>", score: 0, type: "control" },
      { text: "</s>", score: 0, type: "control" },
      { text: "<unk>", score: 0, type: "unknown" },
      { text: "▁the", score: -2.9142487049102783, type: "normal" },
    ]);
    expect(model.unkId).toBe(2);
    const { charsMap, ...flags } = model.normalizer;
    expect(charsMap).toHaveLength(240007);
    expect(flags).toEqual({ addDummyPrefix: true, removeExtraWhitespaces: true, escapeWhitespaces: true });
  });

  test("reads user-defined, unused and byte pieces, and flags that are off", () => {
    const open = (name: string) => parseSentencePieceModel(gunzipSync(readFileSync(new URL(name, folder))));
    expect(open("user-defined.model.gz").pieces.filter(({ type }) => type === "userDefined")).toHaveLength(8);
    const bytePieces = open("byte-fallback.model.gz");
    expect(bytePieces.pieces.filter(({ type }) => type === "byte")).toHaveLength(256);
    expect(bytePieces.byteFallback).toBe(true);
    expect(open("unused-unescaped.model.gz").normalizer.escapeWhitespaces).toBe(false);
    expect(open("keep-spaces.model.gz").normalizer).toMatchObject({
      addDummyPrefix: false,
      removeExtraWhitespaces: false,
    });
  });

  test("keeps a piece that is a byte order mark", () => {
    const model = parseSentencePieceModel(message([0x0a, piece("<unk>", 2)], [0x0a, piece("\ufeff", 1)]));
    expect(model.pieces[1].text).toBe("\ufeff");
  });

  test.each([
    [
      "a Git LFS pointer",
      new TextEncoder().encode("version https://git-lfs.github.com/spec/v1\n"),
      "Git LFS pointer",
    ],
    ["an empty file", new Uint8Array(0), "it holds no pieces"],
    ["half a file", bytes.subarray(0, 100_000), "it ends at byte 100000, inside a field"],
    ["a web page", new TextEncoder().encode("<!doctype html>"), "spiece.model is not a SentencePiece model"],
    ["two unknown pieces", message([0x0a, piece("a", 2)], [0x0a, piece("b", 2)]), "has 2 unknown pieces"],
    ["no unknown piece", message([0x0a, piece("a", 1)]), "has 0 unknown pieces"],
    [
      "a repeated piece",
      message([0x0a, piece("a", 1)], [0x0a, piece("a", 1)]),
      'piece 1 in spiece.model repeats "a"',
    ],
    ["an empty piece", message([0x0a, piece("", 1)]), "piece 0 in spiece.model is empty"],
    ["a type that is not known", message([0x0a, piece("a", 9)]), "piece 0 has type 9"],
    ["a text that is not UTF-8", message([0x0a, [0x0a, 1, 0xff]]), "the text of piece 0 is not UTF-8"],
    ["a NaN score", message([0x0a, [0x0a, 1, 0x61, 0x15, 0, 0, 0xc0, 0x7f]]), "has score NaN"],
    ["a BPE model", message([0x0a, piece("a", 2)], [0x12, [0x18, 2]]), "of type BPE; T5 needs type unigram"],
    ["spaces as suffix", message([0x0a, piece("a", 2)], [0x12, [0xc0, 1, 1]]), "treat_whitespace_as_suffix"],
    ["byte fallback alone", message([0x0a, piece("a", 2)], [0x12, [0x98, 2, 1]]), "has no piece <0x00>"],
    ["a number without end", new Uint8Array(12).fill(0xff), "longer than 10 bytes"],
  ])("says what is wrong with %s", (_, content, sentence) => {
    expect(() => parseSentencePieceModel(content)).toThrow(WeightsError);
    expect(() => parseSentencePieceModel(content)).toThrow(sentence);
  });

  test("answers random bytes with a sentence and nothing else", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (content) =>
        onlyWeightsError(() => parseSentencePieceModel(content)),
      ),
      { numRuns: 5000, seed: 1 },
    );
  });

  test("answers a model with some bytes changed with a sentence or a tokenizer that works", () => {
    const change = fc.tuple(fc.nat(bytes.length - 1), fc.nat(255));
    const anyModel = fc.constantFrom("byte-fallback.model.gz", "user-defined.model.gz", "spiece.model");
    fc.assert(
      fc.property(anyModel, fc.array(change, { minLength: 1, maxLength: 50 }), (name, changes) => {
        const file = readFileSync(new URL(name, folder));
        const content = name.endsWith(".gz") ? gunzipSync(file) : file;
        for (const [at, byte] of changes) content[at % content.length] = byte;
        onlyWeightsError(() =>
          createT5Tokenizer(parseSentencePieceModel(content)).encode("a cat ﬁnds “Å” 漢字 ｶﾞ"),
        );
      }),
      { numRuns: 200, seed: 2 },
    );
  });
});

function onlyWeightsError(run: () => unknown) {
  try {
    run();
  } catch (error) {
    if (!(error instanceof WeightsError)) throw error;
  }
}
