/** @file The checkpoint folder that a run trains in: made or copied at its start, opened part by part, given out at its end. */
import { cp, lstat, mkdir, readFile, rename, rm } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { captionVocabulary } from "../../data/shapes/caption.ts";
import { noiseSchedule, parseSchedulerConfig } from "../../diffusion/schedule.ts";
import { ConfigError } from "../../errors.ts";
import { parseT5Config } from "../../models/t5/config.ts";
import { parseSentencePieceModel } from "../../models/t5/tokenizer/sentencepiece-model.ts";
import { createT5Tokenizer, type T5Tokenizer } from "../../models/t5/tokenizer/tokenizer.ts";
import { readTokenizerConfig } from "../../models/t5/tokenizer/tokenizer-config.ts";
import type { WordList } from "../../models/t5/tokenizer/write-sentencepiece.ts";
import { parseTransformerConfig } from "../../models/transformer/config.ts";
import { parseVaeConfig } from "../../models/vae/config.ts";
import { checkKeys, t5Aliases } from "../../weights/check.ts";
import { openWeights, type WeightSet } from "../../weights/checkpoint.ts";
import { exists, fileError } from "../../weights/file.ts";
import { readJson } from "../../weights/json-file.ts";
import { expandInputChannels } from "../diffusion/channel-expansion.ts";
import { createCheckpoint } from "../new-checkpoint/create-checkpoint.ts";
import { textEncoderParams, transformerParams, vaeParams } from "../new-checkpoint/declared-params.ts";
import { type ParamDType, type Params, readParams, writeParams } from "../new-checkpoint/params-file.ts";
import type { CheckpointSpec, ComponentName } from "../new-checkpoint/spec.ts";
import { temporaryName, writeWhole } from "../run/whole-file.ts";
import type { DataRecipe, NewModelRecipe, Recipe } from "./schema.ts";

/** Everything about a model but its weights. */
export type ModelConfigs = Awaited<ReturnType<typeof readConfigs>>;

/**
 * Makes `folder` the model that the recipe starts from, anew if it is there.
 * @throws ConfigError when the checkpoint to start from is none, or sizes do not fit together
 */
export async function makeModelFolder(folder: string, { model, data, transformer }: Recipe): Promise<void> {
  await rm(folder, { recursive: true, force: true });
  if (model.from !== undefined) {
    await readConfigs(model.from);
    await copyFolder(model.from, folder);
  } else if (model.new !== undefined)
    await createCheckpoint(folder, specOf(model.new, data), { seed: model.new.seed });
  if (model.vaeFrom !== undefined) await takeVae(model.vaeFrom, folder);
  await growChannels(folder, transformer);
}

/**
 * Gives a text-to-video model the channels of an image, of a mask and what it leaves, or of a control video, which it does
 * not look at before it is trained. Inpainting is told by its number of channels; no pipeline of diffusers has it.
 */
async function growChannels(
  folder: string,
  { image, inpaint, control }: Pick<Recipe["transformer"], "image" | "inpaint" | "control">,
): Promise<void> {
  const { inChannels, outChannels } = (await readConfigs(folder)).transformer;
  const isGrowing = image !== undefined || inpaint !== undefined || control !== undefined;
  if (!isGrowing || inChannels !== outChannels) return;
  const channels = inpaint === undefined ? 2 * outChannels : 2 * outChannels + 1;
  const key = "patch_embed.proj.weight";
  const params = new Map(await readPart(folder, "transformer"));
  params.set(key, expandInputChannels(params.get(key)!, inChannels, channels));
  const noise = inpaint?.noise ? { add_noise_in_inpaint_model: true } : {};
  await editConfig(folder, "transformer", { in_channels: channels, ...noise });
  await writeParams(folder, "transformer", params, "f32");
  const pipeline = image ? "CogVideoXImageToVideoPipeline" : control ? "CogVideoXFunControlPipeline" : null;
  if (pipeline !== null) await editJson(join(folder, "model_index.json"), { _class_name: pipeline });
}

/** @throws ConfigError when the transformer that was made for one VAE cannot take the latents of the other */
async function takeVae(from: string, folder: string): Promise<void> {
  const [theirs, ours] = [(await readConfigs(from)).vae, (await readConfigs(folder)).vae];
  if (theirs.latentChannels !== ours.latentChannels || theirs.channels.length !== ours.channels.length)
    throw new ConfigError(
      `the VAE of ${from} makes ${theirs.latentChannels} latent channels on ${theirs.channels.length} levels, ` +
        `model.new.vae says ${ours.latentChannels} on ${ours.channels.length}; make them equal`,
    );
  await cp(join(from, "vae"), join(folder, "vae"), { recursive: true, force: true });
}

function specOf(model: NewModelRecipe, { size, frames }: DataRecipe): CheckpointSpec {
  const { channels, temporalRatio } = model.vae;
  if (temporalRatio > 2 ** (channels.length - 1))
    throw new ConfigError(
      `model.new.vae.temporalRatio is ${temporalRatio}, and ${channels.length} levels of channels can only reach ` +
        `${2 ** (channels.length - 1)}; lower it or give more channels`,
    );
  return {
    tokenizer: model.tokenizer === "shapes" ? shapesWords() : model.tokenizer,
    textEncoder: model.textEncoder,
    transformer: model.transformer,
    vae: { ...model.vae, scalingFactor: 1 },
    scheduler: model.scheduler,
    clip: { frames, ...size },
  };
}

function shapesWords(): WordList {
  const all = captionVocabulary();
  const isMark = (word: string) => /^\W+$/.test(word);
  return { words: all.filter((word) => !isMark(word)), punctuation: all.filter(isMark) };
}

/** The configurations of a checkpoint folder. @throws ConfigError naming the file */
export async function readConfigs(folder: string) {
  const read = async <C>(path: string, parse: (json: unknown, source: string) => C): Promise<C> => {
    const file = join(folder, path);
    return parse(await readJson(file), file);
  };
  const scheduler = await read("scheduler/scheduler_config.json", parseSchedulerConfig);
  return {
    transformer: await read("transformer/config.json", parseTransformerConfig),
    textEncoder: await read("text_encoder/config.json", parseT5Config),
    vae: await read("vae/config.json", parseVaeConfig),
    schedule: noiseSchedule(scheduler),
    pipelineClass: await pipelineClassOf(folder),
  };
}

/** What `model_index.json` calls the pipeline, which is all that tells a control model from an image-to-video model. */
async function pipelineClassOf(folder: string): Promise<string> {
  const file = join(folder, "model_index.json");
  if (!(await exists(file))) return "";
  const { _class_name: name } = (await readJson(file)) as { readonly _class_name?: unknown };
  return typeof name === "string" ? name : "";
}

/** The tokenizer of a checkpoint folder that has a `spiece.model`. */
export async function readTokenizer(folder: string): Promise<T5Tokenizer> {
  const file = join(folder, "tokenizer", "tokenizer_config.json");
  const options = readTokenizerConfig(await readJson(file), file);
  const model = join(folder, "tokenizer", "spiece.model");
  const bytes = await readFile(model).catch((cause) => {
    throw fileError("read the tokenizer", model, cause);
  });
  return createT5Tokenizer(parseSentencePieceModel(bytes), options);
}

/** Where the weights of a part lie, checked against what the model declares. */
export async function openPart(folder: string, part: ComponentName): Promise<WeightSet> {
  const set = await openWeights(join(folder, part));
  const declared = declaredBy(await readConfigs(folder), part);
  const stored = checkKeys(declared, set, { aliases: t5Aliases });
  return { ...set, tensors: stored };
}

/** The values of a part, in float32, under the names that the model declares. */
export async function readPart(folder: string, part: ComponentName): Promise<Params> {
  return readParams(await openPart(folder, part));
}

function declaredBy(configs: ModelConfigs, part: ComponentName) {
  if (part === "vae") return vaeParams(configs.vae);
  return part === "transformer"
    ? transformerParams(configs.transformer)
    : textEncoderParams(configs.textEncoder);
}

/** Changes some fields of a part's `config.json`. */
export async function editConfig(
  folder: string,
  part: ComponentName,
  change: Readonly<Record<string, unknown>>,
): Promise<void> {
  await editJson(join(folder, part, "config.json"), change);
}

async function editJson(file: string, change: Readonly<Record<string, unknown>>): Promise<void> {
  const json = (await readJson(file)) as object;
  await writeWhole(file, `${JSON.stringify({ ...json, ...change }, null, 2)}\n`);
}

/** Replaces the trained values of a part; those that were not trained stay as they are. */
export async function replaceWeights(folder: string, part: ComponentName, trained: Params): Promise<void> {
  const all = new Map(await readPart(folder, part));
  for (const [key, param] of trained) if (all.has(key)) all.set(key, param);
  await writeParams(folder, part, all, "f32");
}

/**
 * Gives out a model as a checkpoint of its own, the weights of some parts in one number format and the others as they
 * are. The folder appears in one step.
 * @throws ConfigError when something stands there
 */
export async function giveOut(
  folder: string,
  output: string,
  { parts, dtype, guidance }: { parts: readonly ComponentName[]; dtype: ParamDType; guidance?: number },
): Promise<void> {
  await requireFree(output);
  const target = resolve(output);
  const draft = join(dirname(target), temporaryName(basename(target)));
  try {
    await mkdir(dirname(target), { recursive: true });
    await cp(folder, draft, { recursive: true });
    for (const part of parts) await writeParams(draft, part, await readPart(folder, part), dtype);
    if (guidance !== undefined) await editConfig(draft, "transformer", { _guidance_scale: guidance });
    await rename(draft, target);
  } catch (cause) {
    await rm(draft, { recursive: true, force: true });
    throw fileError("write the trained checkpoint", target, cause);
  }
}

/** @throws ConfigError when something stands at `output` */
export async function requireFree(output: string): Promise<void> {
  // A link that leads nowhere is in the way as well, and `exists` would not see it.
  const found = await lstat(output).catch(() => null);
  if (found !== null)
    throw new ConfigError(`${output} exists; move it away, or give another output in the recipe`);
}

async function copyFolder(from: string, to: string): Promise<void> {
  const draft = join(dirname(to), temporaryName(basename(to)));
  try {
    await cp(from, draft, { recursive: true, dereference: true });
    await rename(draft, to);
  } catch (cause) {
    await rm(draft, { recursive: true, force: true });
    throw fileError("copy the checkpoint", from, cause);
  }
}
