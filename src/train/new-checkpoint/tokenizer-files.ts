/** @file The files of a checkpoint's `tokenizer/` folder, as the official ones have them. */
import {
  type WordList,
  wordPieces,
  writeSentencePieceModel,
} from "../../models/t5/tokenizer/write-sentencepiece.ts";

/** What `tokenizer/` holds, by file name, and how many ids there are: one more than the highest. */
export type TokenizerFiles = {
  readonly files: Readonly<Record<string, Uint8Array | Readonly<Record<string, unknown>>>>;
  readonly numTokens: number;
};

/**
 * The tokenizer of a word list. T5's sentinels `<extra_id_N>` serve its pre-training only, so there are none;
 * `legacy` keeps the cut of SentencePiece around special tokens.
 * @throws ConfigError for words that cannot be pieces
 */
export function tokenizerFiles(words: WordList, maxLength: number): TokenizerFiles {
  const pieces = wordPieces(words);
  const special = (content: string) => ({
    content,
    lstrip: false,
    normalized: false,
    rstrip: false,
    single_word: false,
  });
  const names = { eos_token: "</s>", pad_token: "<pad>", unk_token: "<unk>" };
  const config = {
    added_tokens_decoder: Object.fromEntries(
      pieces.slice(0, 3).map(({ text }, id) => [id, { ...special(text), special: true }]),
    ),
    additional_special_tokens: [],
    clean_up_tokenization_spaces: true,
    ...names,
    extra_ids: 0,
    legacy: true,
    model_max_length: maxLength,
    sp_model_kwargs: {},
    tokenizer_class: "T5Tokenizer",
  };
  const map = Object.entries(names).map(([role, content]) => [role, special(content)]);
  const files = {
    "spiece.model": writeSentencePieceModel(pieces),
    "tokenizer_config.json": config,
    "special_tokens_map.json": Object.fromEntries(map),
    "added_tokens.json": {},
  };
  return { files, numTokens: pieces.length };
}
