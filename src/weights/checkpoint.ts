/** @file Opens the weights in a folder of an official checkpoint: one .safetensors file, or shards and their index. */
import { readdir, readFile, realpath } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, normalize, sep } from "node:path";
import { WeightsError } from "../errors.ts";
import { fileError, show, statFile } from "./file.ts";
import { isRecord, parseJson } from "./json.ts";
import { readHeader, type SafetensorsFile, type StoredTensor } from "./safetensors.ts";

/** The weights of one model part, for example of `transformer/`: where each tensor lies, no data. */
export type WeightSet = {
  readonly folder: string;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Sum of the tensors' bytes on disk. */
  readonly totalBytes: number;
  /** For each file that holds tensors, as in `StoredTensor.file`, its path with all symbolic links followed. */
  readonly realPaths: ReadonlyMap<string, string>;
};

/**
 * What the reference looks for, first match first: a diffusers part prefers its index to a single file, a
 * transformers part the other way round.
 */
const layouts = [
  { name: "diffusion_pytorch_model.safetensors.index.json", open: openShards },
  { name: "diffusion_pytorch_model.safetensors", open: openSingle },
  { name: "model.safetensors", open: openSingle },
  { name: "model.safetensors.index.json", open: openShards },
] as const;

/**
 * Reads the headers of the weights in `folder`, for example `CogVideoX-2b/transformer`. Every tensor of every shard
 * is listed, also one that the index does not name; where two shards hold the same name, the index decides.
 *
 * @throws {WeightsError} when there are no .safetensors weights, the index is broken, or a file breaks its format.
 */
export async function openWeights(folder: string): Promise<WeightSet> {
  const names = await listFolder(folder);
  const layout = layouts.find(({ name }) => names.includes(name));
  if (!layout) throw noWeights(folder, names);
  return weightSet(folder, await layout.open(folder, layout.name));
}

/** As `openWeights`, for one .safetensors file by its name. @throws {WeightsError} when it breaks its format */
export async function openWeightsFile(file: string): Promise<WeightSet> {
  return weightSet(dirname(file), await openSingle(dirname(file), basename(file)));
}

async function weightSet(folder: string, { files, tensors }: Opened): Promise<WeightSet> {
  const totalBytes = [...tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
  return { folder, tensors, totalBytes, realPaths: await followLinks(files) };
}

type Opened = { readonly files: readonly string[]; readonly tensors: ReadonlyMap<string, StoredTensor> };

async function openSingle(folder: string, name: string): Promise<Opened> {
  const { file, tensors } = await readHeader(join(folder, name));
  return { files: [file], tensors };
}

async function openShards(folder: string, indexName: string): Promise<Opened> {
  const index = join(folder, indexName);
  const shardOf = await readIndex(index);
  const tensors = new Map<string, StoredTensor>();
  const shards = new Map<string, SafetensorsFile>();
  for (const shard of new Set(shardOf.values())) {
    const header = await openShard(index, join(folder, shard), shard);
    shards.set(shard, header);
    for (const tensor of header.tensors.values()) addTensor(tensors, tensor, index, shardOf, shard);
  }
  for (const [name, shard] of shardOf)
    if (!shards.get(shard)!.tensors.has(name))
      throw brokenIndex(
        index,
        `it places tensor ${show(name)} in ${show(shard)}, but that file does not hold it`,
      );
  return { files: [...shards.values()].map(({ file }) => file), tensors };
}

async function openShard(index: string, file: string, shard: string): Promise<SafetensorsFile> {
  try {
    await statFile("read weights", file);
  } catch (cause) {
    if (((cause as Error).cause as NodeJS.ErrnoException | undefined)?.code !== "ENOENT") throw cause;
    throw brokenIndex(index, `it names the shard ${show(shard)}, and no such file exists`, { cause });
  }
  return readHeader(file);
}

/** Keeps the tensor unless the index places its name in another shard. */
function addTensor(
  tensors: Map<string, StoredTensor>,
  tensor: StoredTensor,
  index: string,
  shardOf: ReadonlyMap<string, string>,
  shard: string,
): void {
  const place = shardOf.get(tensor.name);
  if (place !== undefined && place !== shard) return;
  const other = tensors.get(tensor.name);
  if (other)
    throw brokenIndex(
      index,
      `${other.file} and ${tensor.file} both hold tensor ${show(tensor.name)}, and it does not say which one counts`,
    );
  tensors.set(tensor.name, tensor);
}

/** The index's `weight_map`: the shard's file name, relative to the folder, for each tensor. */
async function readIndex(index: string): Promise<ReadonlyMap<string, string>> {
  const parsed = parseJson(await readSmallFile(index));
  if ("problem" in parsed) throw brokenIndex(index, `it ${parsed.problem}`);
  if (!isRecord(parsed.value)) throw brokenIndex(index, `it must be an object, got ${show(parsed.value)}`);
  const map = parsed.value.weight_map;
  if (!isRecord(map)) throw brokenIndex(index, `its weight_map must be an object, got ${show(map)}`);
  const entries = Object.entries(map);
  if (entries.length === 0) throw brokenIndex(index, "its weight_map is empty");
  return new Map(entries.map(([name, shard]) => [name, checkShardName(index, name, shard)]));
}

function checkShardName(index: string, name: string, shard: unknown): string {
  const wrong = (what: string) =>
    brokenIndex(index, `it places tensor ${show(name)} in ${show(shard)}, ${what}`);
  if (typeof shard !== "string" || shard === "") throw wrong("where a file name is needed");
  if (!shard.endsWith(".safetensors")) throw wrong("where a .safetensors file is needed");
  const local = normalize(shard);
  // Backslashes and colons are folders and drives on Windows; a checkpoint must mean the same everywhere.
  if (isAbsolute(local) || local.split(sep).includes("..") || /[\\:\0]/.test(shard))
    throw wrong("which leads out of the checkpoint's folder");
  return shard;
}

async function readSmallFile(file: string): Promise<Uint8Array> {
  try {
    return await readFile(file);
  } catch (cause) {
    throw fileError("read weights", file, cause);
  }
}

async function listFolder(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOTDIR")
      throw new WeightsError(
        `cannot read weights: ${folder} is not a folder; give the folder that holds the weights`,
        { cause },
      );
    throw fileError("read weights", folder, cause);
  }
}

async function followLinks(files: readonly string[]): Promise<ReadonlyMap<string, string>> {
  const real = new Map<string, string>();
  for (const file of files)
    try {
      real.set(file, await realpath(file));
    } catch (cause) {
      throw fileError("read weights", file, cause);
    }
  return real;
}

function noWeights(folder: string, names: readonly string[]): WeightsError {
  const expected = `expected ${layouts.map(({ name }) => name).join(", ")}`;
  const pickled = names.filter((name) => /\.(bin|pt|pth|ckpt)$/.test(name));
  const other = names.filter((name) => name.endsWith(".safetensors"));
  if (other.length > 0)
    return new WeightsError(
      `${folder} holds ${listed(other)}, none under an official name; ${expected}: rename the one to use`,
    );
  if (pickled.length > 0)
    return new WeightsError(
      `${folder} holds only pickled weights (${listed(pickled)}), which are not read because they can run code; ` +
        `${expected}: download the safetensors version, or convert them`,
    );
  return new WeightsError(
    `${folder} holds no weights; ${expected}: is the download complete, and the path right?`,
  );
}

function listed(names: readonly string[]): string {
  const first = [...names].sort().slice(0, 3).join(", ");
  return names.length > 3 ? `${first} and ${names.length - 3} more` : first;
}

function brokenIndex(index: string, what: string, options?: ErrorOptions): WeightsError {
  return new WeightsError(`${index} is not a valid index: ${what}; fetch the checkpoint again`, options);
}
