/** @file Captions for a transformer whose text encoder does not learn: states encoded once and kept in the cache. */
import { toOnnx } from "../../graph/onnx.ts";
import { simplify } from "../../graph/rewrite.ts";
import { input } from "../../graph/tensor.ts";
import type { T5Config } from "../../models/t5/config.ts";
import { t5Encode } from "../../models/t5/encoder.ts";
import { Scope } from "../../nn/scope.ts";
import type { Engine, Session } from "../../runtime/engine.ts";
import { mapWeights } from "../../runtime/mapped-weights.ts";
import { t5Aliases } from "../../weights/check.ts";
import type { Cache } from "../cache/cache.ts";
import type { Floats } from "../cache/entry.ts";
import type { Facts } from "../cache/key.ts";
import { openPart } from "./model-folder.ts";

/** States `[T, D]` of token ids. */
export type TextStates = {
  readonly of: (text: string, ids: Int32Array) => Promise<Float32Array>;
  readonly close: () => Promise<void>;
};

/** The text encoder of a model folder, loaded when the cache first lacks a caption. */
export async function textStates(
  folder: string,
  config: T5Config,
  cache: Cache,
  engine: Engine,
): Promise<TextStates> {
  const weights = await openPart(folder, "text_encoder");
  const encoder = await cache.encoderIdentity(config as unknown as Facts, [...weights.realPaths.values()]);
  let loading: Promise<Session> | null = null;
  const encode = async (ids: Int32Array): Promise<Floats> => {
    loading ??= load(folder, config, engine, ids.length);
    const feeds = { ids: { dtype: "i32" as const, shape: [1, ids.length], data: ids } };
    const { states } = await engine.run(await loading, feeds);
    const { shape, data } = await engine.download(states);
    return { shape: shape.slice(1), data: data as Float32Array };
  };
  return {
    of: async (text, ids) => {
      const wanted = { content: { text }, preprocessing: { ids: [...ids] }, encoder };
      return (await cache.textOf(wanted, () => encode(ids))).data;
    },
    close: async () => {
      if (loading !== null) await engine.unload(await loading);
    },
  };
}

async function load(folder: string, config: T5Config, engine: Engine, length: number): Promise<Session> {
  const p = new Scope();
  const states = t5Encode(p, input("ids", [1, length], "i32"), config);
  const declared = new Map([...p.declared].map(([key, { shape }]) => [key, shape]));
  const mapped = mapWeights(await openPart(folder, "text_encoder"), declared, { aliases: t5Aliases });
  const model = toOnnx(simplify({ states }), { storage: mapped.storage });
  return engine.load("text encoder", model, { weightsFolder: mapped.folder });
}
