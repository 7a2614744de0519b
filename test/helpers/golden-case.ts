/** @file The stored cases of the reference that are hash-filled models: their numbers, and checkpoints to run them with. */
import { readFileSync } from "node:fs";
import { cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import { parseT5Config } from "../../src/models/t5/config.ts";
import { t5Segments } from "../../src/models/t5/encoder.ts";
import { parseTransformerConfig } from "../../src/models/transformer/config.ts";
import { transformerSegments } from "../../src/models/transformer/transformer.ts";
import { parseVaeConfig } from "../../src/models/vae/config.ts";
import { vaeShapes } from "../../src/pipeline/vae-chunks.ts";
import { declaredShapes } from "../../src/runtime/mapped-weights.ts";
import type { TensorData } from "../../src/weights/write.ts";
import { temporaryFolder } from "./command-line.ts";
import { hashCheckpoint } from "./hash-checkpoint.ts";
import { hashInput } from "./hash-fill.ts";
import { report, worst } from "./recorded-case.ts";
import { toyTransformer } from "./toy-transformer.ts";

type Golden = { shape: number[]; data?: number[]; first?: number[]; last?: number[]; absmean?: number };

const files = [
  ...["transformer", "vae", "t5", "pipeline", "modes", "caches"].map((name) => `golden/${name}`),
  "diffusion/golden",
];

/** The cases that the reference came with, by name; those that scripts of ours have added (M_...) are left out. */
export const goldens: Readonly<Record<string, Golden>> = Object.fromEntries(
  files
    .flatMap((name) => Object.entries<Golden>(JSON.parse(readFileSync(`test/fixtures/${name}.json`, "utf8"))))
    .filter(([name]) => !name.startsWith("M_")),
);

/** Prints how far values are from a case and holds them to 1e-4: all that are stored, which may be both ends. */
export function holdToGolden(name: string, values: Float32Array): void {
  const { data, first = [], last = [], absmean = 0 } = goldens[name];
  if (data) {
    report(name, worst(values, Float32Array.from(data)));
    return;
  }
  const ends = [...values.subarray(0, first.length), ...values.subarray(values.length - last.length)];
  report(`${name}, both ends`, worst(Float32Array.from(ends), Float32Array.from([...first, ...last])));
  expect(values.reduce((sum, x) => sum + Math.abs(x), 0) / values.length).toBeCloseTo(absmean, 5);
}

/** A tensor of hashed numbers for a safetensors file. */
export function hashFloats(shape: readonly number[], key: number, scale = 4): TensorData {
  return { dtype: "F32", shape, data: hashInput(shape, key, scale) };
}

/** What a checkpoint is to hold; what is not said is left out. */
export type GoldenParts = {
  readonly pipeline?: string;
  readonly transformer?: object;
  readonly vae?: object;
  readonly textEncoder?: object;
  readonly scheduler?: object;
};

/** A checkpoint folder with hash-filled weights. */
export async function goldenCheckpoint(parts: GoldenParts): Promise<string> {
  const folder = temporaryFolder();
  const { pipeline: _class_name = "CogVideoXPipeline", scheduler } = parts;
  await writeFile(join(folder, "model_index.json"), JSON.stringify({ _class_name }));
  const add = async (name: string, config: object, shapes: ReadonlyMap<string, readonly number[]>) => {
    await mkdir(join(folder, name));
    await cp((await hashCheckpoint(shapes)).folder, join(folder, name), { recursive: true });
    await writeFile(join(folder, name, "config.json"), JSON.stringify(config));
  };
  if (parts.transformer) await add("transformer", parts.transformer, transformerShapes(parts.transformer));
  if (parts.vae) await add("vae", parts.vae, vaeShapes(parseVaeConfig(parts.vae, "config.json")));
  if (parts.textEncoder) await add("text_encoder", parts.textEncoder, textShapes(parts.textEncoder));
  if (scheduler) {
    await mkdir(join(folder, "scheduler"));
    await writeFile(join(folder, "scheduler/scheduler_config.json"), JSON.stringify(scheduler));
  }
  return folder;
}

function transformerShapes(json: object): Map<string, readonly number[]> {
  const config = parseTransformerConfig({ ...toyTransformer, ...json }, "config.json");
  const added = config.learnedPositions ? "learned" : config.rotary ? "none" : "rows";
  const size = { batch: 1, frames: config.patchT ? 4 : 3, height: 6, width: 8 };
  const { embed, blocks, head } = transformerSegments(config, { ...size, textLength: 5, added });
  return declaredShapes([embed, ...blocks, head]);
}

function textShapes(json: object): Map<string, readonly number[]> {
  const config = parseT5Config(json, "config.json");
  const { embed, layers, norm } = t5Segments(config, 1, 10);
  const shapes = declaredShapes([embed, ...layers, norm]);
  // The reference's list of keys names the tied table twice; the later name's values win.
  return shapes.set("encoder.embed_tokens.weight", shapes.get("shared.weight")!);
}
