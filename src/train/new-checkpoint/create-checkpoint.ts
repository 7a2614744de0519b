/** @file Creates a checkpoint folder in the official layout, with weights that have never been trained. */
import { randomUUID } from "node:crypto";
import { lstat, mkdir, rename, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { ConfigError } from "../../errors.ts";
import { parseT5Config } from "../../models/t5/config.ts";
import { parseTransformerConfig } from "../../models/transformer/config.ts";
import { parseVaeConfig } from "../../models/vae/config.ts";
import { fileError } from "../../weights/file.ts";
import { textEncoderParams, transformerParams, vaeParams } from "./declared-params.ts";
import { type InitialOptions, initialWeights } from "./initial-weights.ts";
import { type Params, writeParams } from "./params-file.ts";
import { type CheckpointSpec, type ComponentName, type ConfigFiles, configFiles } from "./spec.ts";
import { tokenizerFiles } from "./tokenizer-files.ts";

/**
 * Writes a checkpoint that `textToVideo` and the reference's `from_pretrained` open. The folder appears in one step
 * when all of it is written; its parent must exist. Weights are float32.
 * @throws ConfigError when something stands at `folder`, and for sizes that do not fit together
 * @throws WeightsError when the system refuses to write; nothing is left behind then
 */
export async function createCheckpoint(
  folder: string,
  spec: CheckpointSpec,
  { seed }: Pick<InitialOptions, "seed">,
): Promise<void> {
  const target = resolve(folder);
  await requireFree(target);
  const { files, numTokens } = tokenizerFiles(spec.tokenizer, spec.transformer.maxTextLength);
  const configs = configFiles(spec, numTokens);
  const parts = freshParams(configs, { seed, textHeadDim: spec.textEncoder.headDim });
  const draft = join(dirname(target), `.${basename(target)}.${randomUUID()}.part`);
  try {
    await mkdir(draft);
    for (const part of ["scheduler", "tokenizer", ...Object.keys(parts)]) await mkdir(join(draft, part));
    for (const [name, json] of Object.entries(configs)) await writeContent(join(draft, name), json);
    for (const [name, content] of Object.entries(files))
      await writeContent(join(draft, "tokenizer", name), content);
    for (const [part, params] of Object.entries(parts))
      await writeParams(draft, part as ComponentName, params, "f32");
    await rename(draft, target);
  } catch (cause) {
    await rm(draft, { recursive: true, force: true }).catch(() => {});
    throw fileError("create a checkpoint", dirname(target), cause);
  }
}

/** Weights for every part, by the models that its configuration file describes. */
function freshParams(configs: ConfigFiles, options: InitialOptions): Record<ComponentName, Params> {
  const read = <C>(part: ComponentName, parse: (json: unknown, source: string) => C) =>
    parse(configs[`${part}/config.json`], `the new ${part}/config.json`);
  const declared = {
    text_encoder: textEncoderParams(read("text_encoder", parseT5Config)),
    transformer: transformerParams(read("transformer", parseTransformerConfig)),
    vae: vaeParams(read("vae", parseVaeConfig)),
  };
  return {
    text_encoder: initialWeights(declared.text_encoder, options),
    transformer: initialWeights(declared.transformer, options),
    vae: initialWeights(declared.vae, options),
  };
}

function writeContent(file: string, content: Uint8Array | object): Promise<void> {
  return writeFile(file, content instanceof Uint8Array ? content : `${JSON.stringify(content, null, 2)}\n`);
}

async function requireFree(folder: string): Promise<void> {
  const found = await lstat(folder).catch(() => undefined);
  if (found !== undefined)
    throw new ConfigError(`cannot create a checkpoint at ${folder}: it exists; choose another path`);
}
