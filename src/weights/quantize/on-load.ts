/** @file Rounds the weights of a checkpoint when they are loaded: into a file of a cache, used again the next time. */
import { createHash } from "node:crypto";
import { mkdir, realpath, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { WeightsError } from "../../errors.ts";
import type { WeightSet } from "../checkpoint.ts";
import { type WriteOptions, writePlan } from "../convert/write-plan.ts";
import { exists } from "../file.ts";
import { readHeader, type StoredTensor } from "../safetensors.ts";
import { isLargeLayer, isQuantizable, type Quantization, quantizedLayers } from "./format.ts";

export type QuantizeHooks = Pick<WriteOptions, "signal" | "onOpen" | "onTensor"> & {
  /** Where quantised weights are kept; see `quantizedCache`. */
  readonly cache?: string;
};

/** Changes with what is written, so that files of older versions are not used. */
const VERSION = 1;

/** Where quantised weights are kept: `$COGVIDEOX_CACHE`, else `cogvideox` in the user's cache folder. */
function quantizedCache(env: Readonly<Record<string, string | undefined>> = process.env): string {
  const home = env.COGVIDEOX_CACHE ?? join(env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "cogvideox");
  return join(home, "quantized");
}

/**
 * The same weights with the matrices of the transformer's blocks quantised, one matrix in memory at a time. They are
 * written to the cache once for each state of the files they come from; what else the checkpoint holds stays mapped
 * from where it is. Weights that are quantised so already come back as they are.
 * @throws {WeightsError} for weights that are quantised otherwise, that have nothing to quantise, and when the system
 *   refuses; CancelledError after `signal`, with no file left
 */
export async function quantizeOnLoad(
  set: WeightSet,
  quantization: Quantization,
  hooks: QuantizeHooks = {},
): Promise<WeightSet> {
  const [before] = quantizedLayers(set.tensors).values();
  if (before?.quantization === quantization) return set;
  const matrices = matricesOf(set, quantization);
  return throughCache(set, matrices, { name: quantization, write: { quantization } }, hooks);
}

/**
 * The same weights with matrices and biases of the blocks' large layers in float16, written to the cache as quantised
 * ones are; those that are stored so stay mapped from where they are.
 * @throws {WeightsError} for a value that float16 does not reach, naming its tensor, and as `quantizeOnLoad`
 */
export async function halveOnLoad(set: WeightSet, hooks: QuantizeHooks = {}): Promise<WeightSet> {
  matricesOf(set, "fp16");
  const wide = [...set.tensors.values()].filter(
    ({ name, dtype }) => isLargeLayer(name.replace(/\.(weight|bias)$/, "")) && dtype !== "F16",
  );
  if (wide.length === 0) return set;
  return throughCache(set, wide, { name: "fp16", write: { dtype: "F16" } }, hooks);
}

/** The large matrices of a transformer's blocks. @throws {WeightsError} where there are none, or none in float */
function matricesOf(set: WeightSet, asked: Quantization | "fp16"): StoredTensor[] {
  const [before] = quantizedLayers(set.tensors).values();
  if (before)
    throw new WeightsError(
      `the weights in ${set.folder} are quantised to ${before.quantization}, and ${asked} was asked for; ` +
        "leave the precision out, or start from the original checkpoint",
    );
  const matrices = [...set.tensors.values()].filter(isQuantizable);
  if (matrices.length > 0) return matrices;
  throw new WeightsError(`the weights in ${set.folder} hold no matrices of a transformer's blocks to round`);
}

/** What some tensors become, and what it is called. */
type Rounding = { readonly name: string; readonly write: Pick<WriteOptions, "quantization" | "dtype"> };

async function throughCache(
  set: WeightSet,
  taken: readonly StoredTensor[],
  { name, write }: Rounding,
  { cache = quantizedCache(), ...options }: QuantizeHooks,
): Promise<WeightSet> {
  const file = join(cache, `${await digestOf(set, taken, name)}.safetensors`);
  if (!(await exists(file))) {
    await mkdir(cache, { recursive: true });
    const plan = taken.map((from) => ({ ...from, pieces: [{ from, start: 0, end: from.byteLength }] }));
    await writePlan(file, plan, { ...options, ...write });
  }
  return replaceTensors(set, taken, (await readHeader(file)).tensors, file);
}

async function replaceTensors(
  set: WeightSet,
  taken: readonly StoredTensor[],
  rounded: ReadonlyMap<string, StoredTensor>,
  file: string,
): Promise<WeightSet> {
  const tensors = new Map(set.tensors);
  for (const { name } of taken) tensors.delete(name);
  for (const [name, tensor] of rounded) tensors.set(name, tensor);
  const realPaths = new Map([...set.realPaths, [file, await realpath(file)]]);
  const totalBytes = [...tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
  return { ...set, tensors, realPaths, totalBytes };
}

/** Names the state of the files: a file that is written anew has another time or size. */
async function digestOf(set: WeightSet, taken: readonly StoredTensor[], rounding: string): Promise<string> {
  const hash = createHash("sha256").update(`${VERSION} ${rounding}\n`);
  for (const real of [...set.realPaths.values()].sort()) {
    const { size, mtimeMs } = await stat(real);
    hash.update(`${real} ${size} ${mtimeMs}\n`);
  }
  for (const { name, offset } of taken) hash.update(`${name} ${offset}\n`);
  return hash.digest("hex").slice(0, 32);
}
