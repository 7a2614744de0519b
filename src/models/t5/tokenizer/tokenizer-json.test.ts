/** @file Reading tokenizer.json: the same ids as from spiece.model, sentences for other files. */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { WeightsError } from "../../../errors.ts";
import { type NormalizerSpec, parseSentencePieceModel } from "./sentencepiece-model.ts";
import { createT5Tokenizer } from "./tokenizer.ts";
import { readTokenizerJson } from "./tokenizer-json.ts";

const folder = new URL("../../../../test/fixtures/tokenizer/", import.meta.url);
const read = (name: string) => readFileSync(new URL(name, folder));
const spiece = parseSentencePieceModel(read("spiece.model"));

/** The file as transformers 5 saves it; the stored one lacks the character map of spiece.model. */
function openJson() {
  const json = JSON.parse(gunzipSync(read("tokenizer.json.gz")).toString("utf8"));
  json.normalizer.precompiled_charsmap = Buffer.from(spiece.normalizer.charsMap).toString("base64");
  return json;
}

function expectSpieceNormalizer({ charsMap, ...flags }: NormalizerSpec) {
  const { charsMap: expected, ...expectedFlags } = spiece.normalizer;
  expect(flags).toEqual(expectedFlags);
  expect(Buffer.compare(charsMap, expected)).toBe(0); // toEqual takes a second for 240,007 bytes
}

describe("readTokenizerJson", () => {
  test("gives the model and the sentinels of spiece.model", () => {
    const { model } = readTokenizerJson(openJson());
    // This file counts the sentinels among the pieces.
    expect(model.pieces.slice(0, 700)).toEqual(spiece.pieces);
    expect(model.unkId).toBe(spiece.unkId);
    expectSpieceNormalizer(model.normalizer);
  });

  test("gives the ids of spiece.model", () => {
    const { model, addedTokens } = readTokenizerJson(openJson());
    const tokenizer = createT5Tokenizer(model, { extraIds: 0, addedTokens });
    expect(tokenizer.numTokens).toBe(800);
    const { lines } = JSON.parse(gunzipSync(read("encodings.json.gz")).toString("utf8")) as {
      lines: string[];
    };
    const fromSpiece = createT5Tokenizer(spiece);
    const texts = [...lines.slice(0, 400), "a </s> b <extra_id_0> c"];
    expect(texts.map(tokenizer.encode)).toEqual(texts.map(fromSpiece.encode));
  });

  test("reads the form of older files", () => {
    const json = openJson();
    json.normalizer = {
      type: "Sequence",
      normalizers: [json.normalizer, { type: "Strip" }, { type: "Replace", content: "▁" }],
    };
    json.pre_tokenizer = { type: "Metaspace", replacement: "▁", add_prefix_space: true };
    expectSpieceNormalizer(readTokenizerJson(json).model.normalizer);
  });

  test("says that a list is no tokenizer file", () => {
    expect(() => readTokenizerJson([])).toThrow("the file in tokenizer.json is []");
  });

  // biome-ignore lint/suspicious/noExplicitAny: the changes reach into free-form JSON
  const changes: [string, (json: any) => unknown, string][] = [
    ["no model", (json) => delete json.model, "model in tokenizer.json is nothing"],
    ["a BPE model", (json) => (json.model.type = "BPE"), 'model.type in tokenizer.json is "BPE"'],
    ["no vocabulary", (json) => (json.model.vocab = { a: 1 }), 'model.vocab in tokenizer.json is {"a":1}'],
    ["a bad piece", (json) => (json.model.vocab[5] = ["a"]), 'model.vocab[5] in tokenizer.json is ["a"]'],
    ["no unknown piece", (json) => (json.model.unk_id = null), "has 0 unknown pieces"],
    [
      "another normaliser",
      (json) => (json.normalizer.type = "NFC"),
      'a normalizer step in tokenizer.json is "NFC"',
    ],
    ["bad base64", (json) => (json.normalizer.precompiled_charsmap = "%"), "must be base64"],
    ["a map that is no text", (json) => (json.normalizer.precompiled_charsmap = 5), "precompiled_charsmap"],
    ["no Metaspace", (json) => (json.pre_tokenizer = null), "the Metaspace replacement"],
    ["another template", (json) => json.post_processor.single.reverse(), 'is "</s> text"'],
    ["no template", (json) => (json.post_processor = null), "post_processor in tokenizer.json is null"],
    ["a bad token", (json) => (json.added_tokens[0].id = "0"), 'added_tokens[0].id in tokenizer.json is "0"'],
  ];
  test.each(changes)("says what is wrong with %s", (_, change, sentence) => {
    const json = openJson();
    change(json);
    const open = () => readTokenizerJson(json);
    expect(open).toThrow(WeightsError);
    expect(open).toThrow(sentence);
  });
});
