/** @file Reads `tokenizer_config.json`: the number of sentinels, the special tokens, the prompt length. */
import { WeightsError } from "../../../errors.ts";

/** What matters for encoding; the fields are options of createT5Tokenizer, except `maxLength`. */
export type TokenizerConfig = {
  /** Number of `<extra_id_N>` tokens. */
  extraIds: number;
  /** Special tokens with explicit ids; empty in files of newer versions. */
  addedTokens: ReadonlyMap<string, number>;
  /** `model_max_length`, the prompt length in tokens; null when the file has none. */
  maxLength: number | null;
};

/**
 * Reads a parsed `tokenizer_config.json`, as transformers 4 (`added_tokens_decoder`) and 5 write it.
 * Throws WeightsError when a field does not have the type it should have.
 */
export function readTokenizerConfig(json: unknown, source = "tokenizer_config.json"): TokenizerConfig {
  if (!isObject(json)) throw new WeightsError(`${source} must hold a JSON object`);
  const { extra_ids: extraIds = 100, model_max_length: maxLength } = json;
  if (typeof extraIds !== "number" || !Number.isInteger(extraIds) || extraIds < 0)
    throw new WeightsError(
      `extra_ids in ${source} must be a count such as 100, got ${JSON.stringify(extraIds)}`,
    );
  return {
    extraIds,
    addedTokens: readAddedTokens(json.added_tokens_decoder ?? {}, source),
    // "No limit" is written as 1e30.
    maxLength: typeof maxLength === "number" && maxLength >= 1 && maxLength < 1e6 ? maxLength : null,
  };
}

function readAddedTokens(json: unknown, source: string): Map<string, number> {
  if (!isObject(json)) throw new WeightsError(`added_tokens_decoder in ${source} must be a JSON object`);
  const tokens = new Map<string, number>();
  for (const [id, token] of Object.entries(json)) {
    const content = isObject(token) ? token.content : undefined;
    if (!/^\d+$/.test(id) || typeof content !== "string")
      throw new WeightsError(
        `added_tokens_decoder in ${source} must map ids to tokens with content; "${id}" does not`,
      );
    tokens.set(content, Number(id));
  }
  return tokens;
}

function isObject(json: unknown): json is Record<string, unknown> {
  return typeof json === "object" && json !== null && !Array.isArray(json);
}
