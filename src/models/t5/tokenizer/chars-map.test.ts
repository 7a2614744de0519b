/** @file The precompiled character map: what rules do, and what broken maps say. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { WeightsError } from "../../../errors.ts";
import { readCharsMap, replaceLongest } from "./chars-map.ts";
import { parseSentencePieceModel } from "./sentencepiece-model.ts";

const file = new URL("../../../../test/fixtures/tokenizer/spiece.model", import.meta.url);
const blob = parseSentencePieceModel(readFileSync(file)).normalizer.charsMap;

function replace(text: string): [length: number, replacement: string] {
  const out: number[] = [];
  const length = replaceLongest(readCharsMap(blob, "spiece.model")!, new TextEncoder().encode(text), 0, out);
  return [length, new TextDecoder().decode(new Uint8Array(out))];
}

describe("replaceLongest", () => {
  test.each([
    ["Ａ", 3, "A"],
    ["ﬁ", 3, "fi"],
    ["\t", 1, " "],
    ["\u200b", 3, " "],
    ["\u0001", 1, ""],
    ["e\u0301", 3, "é"],
    ["ｶﾞ", 6, "ガ"],
    ["ｶ", 3, "カ"],
    ["①x", 3, "1"],
  ])("turns %j, %d bytes, into %j", (text, length, replacement) => {
    expect(replace(text)).toEqual([length, replacement]);
  });

  test("leaves characters without a rule", () => expect(replace("a")).toEqual([0, ""]));

  test("refuses a rule that points outside of the texts", () => {
    const units = new Uint32Array(512);
    units[0] = 256 << 10; // the root's children start at 256
    units[256 ^ 0x61] = 0x61 | 0x100 | (1 << 10); // "a" ends a rule
    units[256 ^ 0x61 ^ 1] = 0x80000000 | 7; // whose text is at byte 7
    const map = { units, replacements: new Uint8Array(3), source: "spiece.model" };
    expect(() => replaceLongest(map, new Uint8Array([0x61]), 0, [])).toThrow("points to byte 7 of 3");
  });
});

describe("readCharsMap", () => {
  test("reads an empty map as none", () => expect(readCharsMap(new Uint8Array(0), "x")).toBeNull());

  test.each([
    ["too short", blob.slice(0, 3)],
    ["cut inside the trie", blob.slice(0, 1000)],
    ["cut inside the last text", blob.slice(0, -1)],
    ["of a wrong trie size", new Uint8Array([3, 0, 0, 0, 1, 2, 3, 0])],
  ])("refuses a map that is %s", (_, broken) => {
    expect(() => readCharsMap(broken, "spiece.model")).toThrow(WeightsError);
    expect(() => readCharsMap(broken, "spiece.model")).toThrow(
      "precompiled_charsmap in spiece.model is broken",
    );
  });
});
