/** @file An official checkpoint folder: its configurations, its weights and its tokenizer, each opened when asked for. */
import { access } from "node:fs/promises";
import { join } from "node:path";
import { parseSchedulerConfig, type SchedulerConfig } from "../diffusion/schedule.ts";
import { ConfigError } from "../errors.ts";
import { parseT5Config, type T5Config } from "../models/t5/config.ts";
import type { TinyVaeConfig } from "../models/tiny-vae/decoder.ts";
import { parseTransformerConfig, type TransformerConfig } from "../models/transformer/config.ts";
import { parseVaeConfig, type VaeConfig } from "../models/vae/config.ts";
import { openWeights, type WeightSet } from "../weights/checkpoint.ts";
import { exists } from "../weights/file.ts";
import { readJson } from "../weights/json-file.ts";

/** The pipelines whose folders this package reads. */
const pipelineClasses = [
  "CogVideoXPipeline",
  "CogVideoXImageToVideoPipeline",
  "CogVideoXVideoToVideoPipeline",
  "CogVideoXFunControlPipeline",
  "CogVideoXFunInpaintPipeline",
  "CogVideoX_Fun_Pipeline_Control",
  "CogVideoX_Fun_Pipeline_Inpaint",
] as const;
/** A pipeline as `model_index.json` names it. */
export type PipelineClass = (typeof pipelineClasses)[number];

/** A model's configuration with its weights, mapped and not read. */
export type Component<C> = { readonly config: C; readonly weights: WeightSet };

/** A tiny decoder's weights and where they are from: the name they were asked for by, and the file's SHA-256. */
export type TinyDecoderWeights = Component<TinyVaeConfig> & {
  readonly source: { readonly file: string; readonly sha256: string };
};

/** Everything in a folder that `save_pretrained` of the reference writes. */
export type Checkpoint = {
  readonly folder: string;
  /** `_class_name` of `model_index.json`. */
  readonly pipelineClass: PipelineClass;
  readonly scheduler: SchedulerConfig;
  readonly transformer: Component<TransformerConfig>;
  readonly vae: Component<VaeConfig>;
  readonly textEncoder: Component<T5Config>;
  /** Decodes instead of the VAE where it was asked for. */
  readonly tinyDecoder?: TinyDecoderWeights;
};

/**
 * Opens a checkpoint folder: reads every configuration and every weight file's header.
 * @throws ConfigError for a folder that is none, a class nobody knows, a bad configuration; WeightsError for bad files
 */
export async function openCheckpoint(folder: string): Promise<Checkpoint> {
  const pipelineClass = await readPipelineClass(folder);
  const [transformer, vae, textEncoder, scheduler] = await Promise.all([
    openComponent(folder, "transformer", parseTransformerConfig),
    openComponent(folder, "vae", parseVaeConfig),
    openComponent(folder, "text_encoder", parseT5Config),
    readScheduler(folder),
  ]);
  return { folder, pipelineClass, scheduler, transformer, vae, textEncoder };
}

/** Opens one model of a checkpoint folder. */
export async function openComponent<C>(
  folder: string,
  name: "transformer" | "vae" | "text_encoder",
  parse: (json: unknown, source: string) => C,
): Promise<Component<C>> {
  await requireCheckpoint(folder);
  const source = join(folder, name, "config.json");
  return { config: parse(await readJson(source), source), weights: await openWeights(join(folder, name)) };
}

/** @throws ConfigError unless the folder holds a `model_index.json` of a known pipeline */
export async function readPipelineClass(folder: string): Promise<PipelineClass> {
  await requireCheckpoint(folder);
  const source = join(folder, "model_index.json");
  const named = (await readJson(source)) as { _class_name?: unknown } | null;
  const known = pipelineClasses.find((name) => name === named?._class_name);
  if (known !== undefined) return known;
  throw new ConfigError(
    `${source} names the pipeline ${JSON.stringify(named?._class_name)}; known are ${pipelineClasses.join(", ")}`,
  );
}

/** The scheduler's configuration in a checkpoint folder. @throws ConfigError for a folder that is none, and a bad file */
export async function readScheduler(folder: string): Promise<SchedulerConfig> {
  await requireCheckpoint(folder);
  const source = join(folder, "scheduler", "scheduler_config.json");
  return parseSchedulerConfig(await readJson(source), source);
}

async function requireCheckpoint(folder: string): Promise<void> {
  const file = join(folder, "model_index.json");
  await access(file).catch(async (cause) => {
    const isLora = await exists(join(folder, "pytorch_lora_weights.safetensors"));
    const advice = isLora
      ? "it holds a LoRA, which goes beside a checkpoint (--lora)"
      : "give the folder that holds model_index.json";
    throw new ConfigError(`${folder} is not a checkpoint folder: there is no ${file}; ${advice}`, { cause });
  });
}
