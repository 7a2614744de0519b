/** @file The T5 wrapper: end mark, padding, cutting and special tokens, against the slow T5Tokenizer. */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { ConfigError, WeightsError } from "../../../errors.ts";
import { parseSentencePieceModel } from "./sentencepiece-model.ts";
import { createT5Tokenizer } from "./tokenizer.ts";

const folder = new URL("../../../../test/fixtures/tokenizer/", import.meta.url);
const model = parseSentencePieceModel(readFileSync(new URL("spiece.model", folder)));
const tokenizer = createT5Tokenizer(model);

type Case = { text: string; ids: number[]; padded: number[]; removed: string | null };
const reference = JSON.parse(readFileSync(new URL("special-tokens.json", folder), "utf8")) as {
  maxLength: number;
  cases: Case[];
};

describe("against transformers' T5Tokenizer", () => {
  test.each(reference.cases)("encodes $text", ({ text, ids, padded }) => {
    expect(tokenizer.encode(text)).toEqual(ids);
    expect([...tokenizer.encodePadded(text, reference.maxLength).ids]).toEqual(padded);
  });

  test.each(reference.cases.filter(({ removed }) => removed !== null))(
    "says what it cut from $text",
    (one) => {
      const cut = tokenizer.encodePadded(one.text, reference.maxLength).truncatedText;
      const withoutSpaces = (text: string | null) => text?.replaceAll(" ", "");
      // Around special tokens transformers sets spaces in its own way.
      expect(withoutSpaces(cut)).toBe(withoutSpaces(one.removed));
    },
  );
});

describe("encode", () => {
  test("counts the sentinels among the tokens", () => {
    expect(tokenizer.numTokens).toBe(800);
    expect(createT5Tokenizer(model, { extraIds: 0 }).numTokens).toBe(700);
  });

  test("reads special tokens as text when asked to", () => {
    const plain = createT5Tokenizer(model, { specialTokensInText: false });
    expect(plain.encode("<pad>")).toEqual([6, 2, 687, 46, 692, 2, 1]);
  });

  test("takes the longest special token, also from the added ones", () => {
    const addedTokens = new Map([["<extra_id_0>0", 900]]);
    const extended = createT5Tokenizer(model, { addedTokens });
    expect(extended.encode("<extra_id_0>0")).toEqual([900, 1]);
    expect(extended.numTokens).toBe(901);
  });

  test("reads a lone surrogate as U+FFFD", () => {
    expect(tokenizer.encode("a \ud83d b")).toEqual(tokenizer.encode("a \ufffd b"));
  });

  test("gives the same ids for other kinds and numbers of spaces", () => {
    expect(tokenizer.encode("\t a\u3000\u00a0cat\r\n")).toEqual(tokenizer.encode("a cat"));
  });
});

describe("encodePadded", () => {
  test("keeps only the end mark when there is room for nothing else", () => {
    expect(tokenizer.encodePadded("a cat", 1)).toEqual({ ids: new Int32Array([1]), truncatedText: "a cat" });
  });

  test("reports nothing cut when the text just fits", () => {
    const { length } = tokenizer.encode("a cat walks");
    expect(tokenizer.encodePadded("a cat walks", length).truncatedText).toBeNull();
    expect(tokenizer.encodePadded("a cat walks", length - 1).truncatedText).not.toBeNull();
  });

  test.each([0, -1, 2.5, Number.NaN])("refuses a length of %d", (length) => {
    expect(() => tokenizer.encodePadded("a", length)).toThrow(ConfigError);
  });
});

describe("decode", () => {
  test("gives back the text of an encoding", () => {
    expect(tokenizer.decode(tokenizer.encode("a cat walks with the camera").slice(0, -1))).toBe(
      "a cat walks with the camera",
    );
  });

  test("puts byte pieces together", () => {
    const bytes = gunzipSync(readFileSync(new URL("byte-fallback.model.gz", folder)));
    const withBytes = createT5Tokenizer(parseSentencePieceModel(bytes));
    expect(withBytes.decode(withBytes.encode("the 🐼 ꙮ").slice(0, -1))).toBe("the 🐼 ꙮ");
  });

  test("refuses an id that is not in the vocabulary", () => {
    expect(() => tokenizer.decode([800])).toThrow("token id 800 is not in spiece.model");
  });
});

describe("createT5Tokenizer", () => {
  test("needs </s>", () => {
    const pieces = model.pieces.filter(({ text }) => text !== "</s>");
    expect(() => createT5Tokenizer({ ...model, pieces })).toThrow(WeightsError);
  });

  test.each([-1, 0.5, Number.NaN])("refuses %d sentinels", (extraIds) => {
    expect(() => createT5Tokenizer(model, { extraIds })).toThrow(ConfigError);
  });
});
