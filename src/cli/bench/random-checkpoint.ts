/** @file Checkpoints of any width with random bfloat16 weights. */
import { mkdir, mkdtemp, rm, statfs, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createRng, drawNormals } from "../../diffusion/noise.ts";
import { CancelledError, ConfigError } from "../../errors.ts";
import { type Shape, sizeOf } from "../../graph/shape.ts";
import { declaredShapes } from "../../runtime/mapped-weights.ts";
import { openSafetensorsWriter, type SafetensorsWriter } from "../../weights/write.ts";
import type { Context } from "../command.ts";
import { componentKinds } from "../inspect-components.ts";
import { byteSize } from "../numbers.ts";
import { modelIndex, scheduler } from "./official-configs.ts";

/** Configurations of the models to write, by the folder each has in a checkpoint. */
export type RandomModels = Readonly<Partial<Record<"transformer" | "vae" | "text_encoder", object>>>;

/**
 * Writes a checkpoint with random weights, hands its folder to `use`, and removes it on every way out.
 * @throws ConfigError when the disk has too little space, CancelledError after `signal`
 */
export async function withRandomCheckpoint<T>(
  models: RandomModels,
  { terminal, signal, cleanups }: Pick<Context, "terminal" | "signal" | "cleanups">,
  use: (folder: string) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "cogvideox-bench-"));
  const remove = () => rm(folder, { recursive: true, force: true });
  cleanups.add(remove);
  try {
    await writeRandomCheckpoint(folder, models, { terminal, signal });
    return await use(folder);
  } finally {
    cleanups.delete(remove);
    await remove();
  }
}

/**
 * Writes a checkpoint with random weights to a folder, which is made.
 * @throws ConfigError when the disk has too little space, CancelledError after `signal`
 */
export async function writeRandomCheckpoint(
  folder: string,
  models: RandomModels,
  { terminal, signal }: Pick<Context, "terminal" | "signal">,
): Promise<void> {
  await writeConfigs(folder, models);
  const parts = await declaredParts(folder, models);
  const bytes = 2 * parts.flatMap(({ shapes }) => [...shapes.values()]).reduce((n, s) => n + sizeOf(s), 0);
  await requireSpace(folder, bytes);
  terminal.say(`writing ${byteSize(bytes)} of random weights to ${folder}`);
  for (const { file, shapes } of parts) await writeRandomWeights(join(folder, file), shapes, signal);
}

async function writeConfigs(folder: string, models: RandomModels): Promise<void> {
  const files = Object.entries(models).map(([name, json]) => [join(name, "config.json"), json] as const);
  for (const [file, json] of [
    ["model_index.json", modelIndex] as const,
    [join("scheduler", "scheduler_config.json"), scheduler] as const,
    ...files,
  ]) {
    await mkdir(join(folder, file, ".."), { recursive: true });
    await writeFile(join(folder, file), JSON.stringify(json, null, 2));
  }
}

type Part = { readonly file: string; readonly shapes: ReadonlyMap<string, Shape> };

async function declaredParts(folder: string, models: RandomModels): Promise<Part[]> {
  const kinds = (await componentKinds(folder)).filter(({ name }) => models[name] !== undefined);
  return kinds.map(({ name, trace }) => ({
    file: join(name, name === "text_encoder" ? "model.safetensors" : "diffusion_pytorch_model.safetensors"),
    shapes: declaredShapes(trace(models[name], join(folder, name, "config.json")).segments),
  }));
}

async function requireSpace(folder: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  const free = bavail * bsize;
  if (free < bytes * 1.02)
    throw new ConfigError(
      `this benchmark writes ${byteSize(bytes)} of random weights to ${tmpdir()}, where ${byteSize(free)} are free; ` +
        "free space there, or set TMPDIR to a folder on another disk",
    );
}

async function writeRandomWeights(
  file: string,
  shapes: ReadonlyMap<string, Shape>,
  signal: AbortSignal,
): Promise<void> {
  const layout = [...shapes].map(([name, shape]) => ({ name, dtype: "BF16" as const, shape }));
  const writer = await openSafetensorsWriter(file, layout);
  const random = randomWords();
  try {
    for (const [name, shape] of shapes) await appendTensor(writer, name, shape, random, signal);
    await writer.close();
  } catch (error) {
    await writer.abort();
    throw error;
  }
}

/** Elements written at once. */
const CHUNK = 1 << 22;

async function appendTensor(
  writer: SafetensorsWriter,
  name: string,
  shape: Shape,
  random: (count: number) => Uint16Array,
  signal: AbortSignal,
): Promise<void> {
  for (let left = sizeOf(shape); left > 0; left -= CHUNK) {
    if (signal.aborted) throw new CancelledError("stopped while writing random weights");
    const count = Math.min(left, CHUNK);
    await writer.append(shape.length > 1 ? random(count) : constantBits(name, count));
  }
}

/** Scales of norms are 1, biases are 0. */
function constantBits(name: string, count: number): Uint16Array {
  return new Uint16Array(count).fill(name.endsWith(".weight") ? BF16_ONE : 0);
}

const BF16_ONE = 0x3f80;

/** Standard deviation of the weights of matrices and kernels. */
const SPREAD = 0.02;

/** A source of bfloat16 bits from N(0, SPREAD): random places of a table of 65,536 normal numbers. */
function randomWords(): (count: number) => Uint16Array {
  const table = Uint16Array.from(drawNormals(createRng(0), 1 << 16), (value) => bf16Bits(value * SPREAD));
  const words = new Uint32Array(CHUNK / 2);
  let x = 0x2545f491;
  return (count) => {
    for (let i = 0; i < Math.ceil(count / 2); i++) {
      // Marsaglia's xorshift32
      x ^= x << 13;
      x ^= x >>> 17;
      x ^= x << 5;
      words[i] = table[x & 0xffff] | (table[x >>> 16] << 16);
    }
    return new Uint16Array(words.buffer, 0, count);
  };
}

const scratch = new Float32Array(1);
const scratchBits = new Uint32Array(scratch.buffer);

/** The upper half of the float32; that this cuts instead of rounding does not matter for random numbers. */
function bf16Bits(value: number): number {
  scratch[0] = value;
  return scratchBits[0] >>> 16;
}
