/** @file Reading tokenizer_config.json in both of its forms. */
import { describe, expect, test } from "vitest";
import { WeightsError } from "../../../errors.ts";
import { readTokenizerConfig } from "./tokenizer-config.ts";

describe("readTokenizerConfig", () => {
  test("reads sentinels, special tokens and length as transformers 4 writes them", () => {
    const json = {
      added_tokens_decoder: {
        "0": { content: "<pad>", lstrip: false },
        "32099": { content: "<extra_id_0>" },
      },
      extra_ids: 100,
      model_max_length: 226,
    };
    expect(readTokenizerConfig(json)).toEqual({
      extraIds: 100,
      addedTokens: new Map([
        ["<pad>", 0],
        ["<extra_id_0>", 32099],
      ]),
      maxLength: 226,
    });
  });

  test("falls back to 100 sentinels and no length", () => {
    const nothing = { extraIds: 100, addedTokens: new Map(), maxLength: null };
    expect(readTokenizerConfig({})).toEqual(nothing);
    expect(readTokenizerConfig({ model_max_length: 1e30 })).toEqual(nothing);
  });

  test.each([
    ["no object", [], "tokenizer_config.json must hold a JSON object"],
    [
      "half a sentinel",
      { extra_ids: 0.5 },
      "extra_ids in tokenizer_config.json must be a count such as 100, got 0.5",
    ],
    [
      "tokens in a list",
      { added_tokens_decoder: [] },
      "added_tokens_decoder in tokenizer_config.json must be",
    ],
    ["a token without content", { added_tokens_decoder: { "5": {} } }, '"5" does not'],
    ["an id that is no number", { added_tokens_decoder: { a: { content: "a" } } }, '"a" does not'],
  ])("says what is wrong with %s", (_, json, sentence) => {
    expect(() => readTokenizerConfig(json)).toThrow(WeightsError);
    expect(() => readTokenizerConfig(json)).toThrow(sentence);
  });
});
