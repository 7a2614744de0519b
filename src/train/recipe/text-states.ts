/** @file Captions for a transformer whose text encoder does not learn: states encoded once and kept in the cache. */
import { input } from "../../graph/tensor.ts";
import type { T5Config } from "../../models/t5/config.ts";
import { t5Encode } from "../../models/t5/encoder.ts";
import type { Engine } from "../../runtime/engine.ts";
import { t5Aliases } from "../../weights/check.ts";
import type { Cache } from "../cache/cache.ts";
import type { Floats } from "../cache/entry.ts";
import type { Facts } from "../cache/key.ts";
import { frozenPart } from "./frozen-part.ts";
import { openPart } from "./model-folder.ts";

/** States `[T, D]` of token ids. */
export type TextStates = {
  readonly of: (text: string, ids: Int32Array) => Promise<Float32Array>;
  readonly close: () => Promise<void>;
};

/** The text encoder of a model folder for texts of `length` tokens, loaded when the cache first lacks a caption. */
export async function textStates(
  folder: string,
  { config, length }: { readonly config: T5Config; readonly length: number },
  cache: Cache,
  engine: Engine,
): Promise<TextStates> {
  const weights = await openPart(folder, "text_encoder");
  const encoder = await cache.encoderIdentity(config as unknown as Facts, [...weights.realPaths.values()]);
  const { run, close } = frozenPart({
    ...{ engine, folder, part: "text_encoder", label: "text encoder" },
    keys: { aliases: t5Aliases },
    build: (p) => ({ states: t5Encode(p, input("ids", [1, length], "i32"), config) }),
  });
  const encode = async (ids: Int32Array): Promise<Floats> => {
    const { states } = await run({ ids: { dtype: "i32", shape: [1, ids.length], data: ids } });
    return { shape: states.shape.slice(1), data: states.data as Float32Array };
  };
  return {
    of: async (text, ids) => {
      const wanted = { content: { text }, preprocessing: { ids: [...ids] }, encoder };
      return (await cache.textOf(wanted, () => encode(ids))).data;
    },
    close,
  };
}
