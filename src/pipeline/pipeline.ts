/** @file A checkpoint with an engine: what every mode of generation starts from. */
import { ConfigError } from "../errors.ts";
import type { T5Tokenizer } from "../models/t5/tokenizer/tokenizer.ts";
import { spatialRatio, type VaeConfig } from "../models/vae/config.ts";
import { Engine, type EngineOptions } from "../runtime/engine.ts";
import type { QuantizeHooks } from "../weights/quantize/on-load.ts";
import { type Checkpoint, openCheckpoint } from "./checkpoint.ts";
import { SPATIAL_RATIO } from "./clip-size.ts";
import { type LoraRequest, withLoras } from "./lora.ts";
import { nanoFolder } from "./nano.ts";
import { type Precision, requireArithmetic, requirePrecision, weightsIn } from "./precision.ts";
import { loadTokenizer } from "./prompt.ts";
import { openTinyDecoder } from "./tiny-decoder.ts";

/** An opened checkpoint. Its weights are mapped when a stage needs them; nothing large is in memory between stages. */
export type Pipeline = {
  readonly checkpoint: Checkpoint;
  /** Turns a prompt into ids, such as `tokenizer.encode(prompt).length` of them. */
  readonly tokenizer: T5Tokenizer;
  /** Computes on a thread of its own; one for all runs of the pipeline. */
  readonly engine: Engine;
  /** Ends the engine's thread. A process may end without it. */
  close(): Promise<void>;
};

/** How a checkpoint is opened and computed with. */
export type PipelineOptions = EngineOptions & {
  /** LoRAs to lie on the transformer; several add up. */
  readonly loras?: readonly LoraRequest[];
  /** Arithmetic of the transformer; as its weights are stored unless given. */
  readonly precision?: Precision;
  /** For the time it takes to quantise weights that are not stored so. */
  readonly quantizing?: QuantizeHooks;
  /** Weights of a tiny decoder (taecvx.safetensors) to use instead of the VAE's; "tiny" for those in the folder. */
  readonly decoder?: string;
};

/**
 * Opens a checkpoint folder in the official layout.
 * @param folder holds `model_index.json` and one folder for each component; nano, which comes along, unless given
 * @param options device ("cpu", "webgpu", "cuda"), threads, LoRAs, and precision
 * @throws ConfigError, WeightsError
 */
export async function loadPipeline(
  folder: string = nanoFolder,
  { loras = [], precision, quantizing, decoder, ...options }: PipelineOptions = {},
): Promise<Pipeline> {
  requirePrecision(precision, options.device);
  const opened = await openCheckpoint(folder);
  requireRatio(opened.vae.config, folder);
  const engine = new Engine(options);
  try {
    await requireArithmetic(engine, precision);
    const quantized = await weightsIn(precision, opened.transformer.weights, quantizing);
    const weights = await withLoras(quantized, loras);
    const { outChannels } = opened.transformer.config;
    const tinyDecoder =
      decoder === undefined ? undefined : await openTinyDecoder(decoder, folder, outChannels);
    const checkpoint = { ...opened, transformer: { ...opened.transformer, weights }, tinyDecoder };
    const tokenizer = await loadTokenizer(folder);
    return { checkpoint, tokenizer, engine, close: () => engine.close() };
  } catch (error) {
    await engine.close();
    throw error;
  }
}

/** Sizes of clips and latents follow from the transformer alone, which does not say what the VAE makes of a latent. */
function requireRatio(vae: VaeConfig, folder: string): void {
  const ratio = spatialRatio(vae);
  if (ratio === SPATIAL_RATIO) return;
  throw new ConfigError(
    `the VAE of ${folder} makes ${ratio} x ${ratio} pixels of a latent, and clips are generated with ` +
      `${SPATIAL_RATIO} x ${SPATIAL_RATIO}: it must have four levels, got ${vae.channels.length}`,
  );
}
