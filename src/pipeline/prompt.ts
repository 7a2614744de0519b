/** @file A prompt on its way to the transformer: tokens, then hidden states. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { ConfigError } from "../errors.ts";
import { parseSentencePieceModel } from "../models/t5/tokenizer/sentencepiece-model.ts";
import { createT5Tokenizer, type T5Tokenizer } from "../models/t5/tokenizer/tokenizer.ts";
import { readTokenizerConfig } from "../models/t5/tokenizer/tokenizer-config.ts";
import { readTokenizerJson } from "../models/t5/tokenizer/tokenizer-json.ts";
import type { Engine } from "../runtime/engine.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import { exists } from "../weights/file.ts";
import { readJson } from "../weights/json-file.ts";
import type { Checkpoint } from "./checkpoint.ts";
import type { RunHooks } from "./run-hooks.ts";
import { TextEncoder } from "./text-encoder.ts";

/** Token ids `[texts, length]` (int32), and what did not fit of each text. */
export type PromptTokens = { readonly ids: HostTensor; readonly truncated: readonly (string | null)[] };

/** The tokenizer of a checkpoint: `spiece.model`, or `tokenizer.json` where that is all there is. */
export async function loadTokenizer(folder: string): Promise<T5Tokenizer> {
  const at = (name: string) => join(folder, "tokenizer", name);
  const options = (await exists(at("tokenizer_config.json")))
    ? readTokenizerConfig(await readJson(at("tokenizer_config.json")), at("tokenizer_config.json"))
    : {};
  if (await exists(at("spiece.model")))
    return createT5Tokenizer(parseSentencePieceModel(await readFile(at("spiece.model"))), options);
  if (await exists(at("tokenizer.json"))) {
    const { model, addedTokens } = readTokenizerJson(
      await readJson(at("tokenizer.json")),
      at("tokenizer.json"),
    );
    return createT5Tokenizer(model, { extraIds: 0, addedTokens });
  }
  throw new ConfigError(
    `${join(folder, "tokenizer")} holds neither spiece.model nor tokenizer.json; download it again`,
  );
}

/** Tokenizes every text to `length` ids: cut, closed with `</s>`, filled up with pads. */
export function tokenize(tokenizer: T5Tokenizer, texts: readonly string[], length: number): PromptTokens {
  const padded = texts.map((text) => tokenizer.encodePadded(text, length));
  const ids = new Int32Array(texts.length * length);
  for (const [i, row] of padded.entries()) ids.set(row.ids, i * length);
  return {
    ids: { dtype: "i32", shape: [texts.length, length], data: ids },
    truncated: padded.map((row) => row.truncatedText),
  };
}

/** Hidden states `[texts, length, width]` of tokenized texts. */
export async function encodeTokens(
  engine: Engine,
  { textEncoder: { config, weights } }: Checkpoint,
  ids: HostTensor,
  hooks: RunHooks = {},
): Promise<HostTensor> {
  const [batch, length] = ids.shape;
  const encoder = new TextEncoder(engine, config, weights, { batch, length }, { once: true });
  try {
    return await encoder.encode(ids, hooks);
  } finally {
    await encoder.close();
  }
}
