/** @file Quantises the weights of a checkpoint when they are loaded: into a file of a cache, used again the next time. */
import { createHash } from "node:crypto";
import { mkdir, realpath, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { WeightsError } from "../../errors.ts";
import type { WeightSet } from "../checkpoint.ts";
import { type WriteOptions, writePlan } from "../convert/write-plan.ts";
import { exists } from "../file.ts";
import { readHeader, type StoredTensor } from "../safetensors.ts";
import { isQuantizable, type Quantization, quantizedLayers } from "./format.ts";

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
  { cache = quantizedCache(), ...options }: QuantizeHooks = {},
): Promise<WeightSet> {
  const [before] = quantizedLayers(set.tensors).values();
  if (before?.quantization === quantization) return set;
  if (before)
    throw new WeightsError(
      `the weights in ${set.folder} are quantised to ${before.quantization}, and ${quantization} was asked for; ` +
        "leave the precision out, or start from the original checkpoint",
    );
  const matrices = [...set.tensors.values()].filter(isQuantizable);
  if (matrices.length === 0)
    throw new WeightsError(
      `the weights in ${set.folder} hold no matrices of a transformer's blocks to quantise`,
    );
  const file = join(cache, `${await digestOf(set, matrices, quantization)}.safetensors`);
  if (!(await exists(file))) {
    await mkdir(cache, { recursive: true });
    const plan = matrices.map((from) => ({ ...from, pieces: [{ from, start: 0, end: from.byteLength }] }));
    await writePlan(file, plan, { ...options, quantization });
  }
  return replaceMatrices(set, matrices, (await readHeader(file)).tensors, file);
}

async function replaceMatrices(
  set: WeightSet,
  matrices: readonly StoredTensor[],
  quantized: ReadonlyMap<string, StoredTensor>,
  file: string,
): Promise<WeightSet> {
  const tensors = new Map([...set.tensors, ...quantized]);
  for (const { name } of matrices) tensors.delete(name);
  const realPaths = new Map([...set.realPaths, [file, await realpath(file)]]);
  const totalBytes = [...tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
  return { ...set, tensors, realPaths, totalBytes };
}

/** Names the state of the files: a file that is written anew has another time or size. */
async function digestOf(
  set: WeightSet,
  matrices: readonly StoredTensor[],
  quantization: Quantization,
): Promise<string> {
  const hash = createHash("sha256").update(`${VERSION} ${quantization}\n`);
  for (const real of [...set.realPaths.values()].sort()) {
    const { size, mtimeMs } = await stat(real);
    hash.update(`${real} ${size} ${mtimeMs}\n`);
  }
  for (const { name, offset } of matrices) hash.update(`${name} ${offset}\n`);
  return hash.digest("hex").slice(0, 32);
}
