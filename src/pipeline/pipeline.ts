/** @file A checkpoint with an engine: what every mode of generation starts from. */
import type { T5Tokenizer } from "../models/t5/tokenizer/tokenizer.ts";
import { Engine, type EngineOptions } from "../runtime/engine.ts";
import { type Checkpoint, openCheckpoint } from "./checkpoint.ts";
import { loadTokenizer } from "./prompt.ts";

/** An opened checkpoint. Its weights are mapped when a stage needs them; nothing large is in memory between stages. */
export type Pipeline = {
  readonly checkpoint: Checkpoint;
  readonly tokenizer: T5Tokenizer;
  readonly engine: Engine;
  /** Ends the engine's thread. */
  close(): Promise<void>;
};

/**
 * Opens a checkpoint folder in the official layout.
 * @param folder holds `model_index.json` and one folder for each component
 * @param options device ("cpu", "webgpu", "cuda") and threads
 * @throws ConfigError, WeightsError
 */
export async function loadPipeline(folder: string, options: EngineOptions = {}): Promise<Pipeline> {
  const checkpoint = await openCheckpoint(folder);
  const tokenizer = await loadTokenizer(folder);
  const engine = new Engine(options);
  return { checkpoint, tokenizer, engine, close: () => engine.close() };
}
