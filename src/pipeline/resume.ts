/** @file A run between two steps as a file: written whole or not at all, read back bit for bit. */
import { z } from "zod";
import type { SamplerState } from "../diffusion/sampler.ts";
import { ConfigError } from "../errors.ts";
import { parseJson } from "../weights/json.ts";
import { readTensor } from "../weights/read.ts";
import { readHeader } from "../weights/safetensors.ts";
import { type TensorData, writeSafetensors } from "../weights/write.ts";

/** Everything that a run needs to go on besides its options. */
export type SavedState = {
  /** Of the last "step" event. */
  readonly state: SamplerState;
  /** What feature caches keep between steps, where there are any. */
  readonly cache?: unknown;
};

const KIND = "cogvideox.run.1";

/** Writes a state, replacing an older one only when all of it is safely on disk. @throws WeightsError */
export async function writeRunState(file: string, saved: SavedState): Promise<void> {
  const tensors: Record<string, TensorData> = {};
  const tree = flatten(saved, tensors, "");
  await writeSafetensors(file, tensors, { format: KIND, tree: JSON.stringify(tree) });
}

/** Reads what `writeRunState` has written. @throws ConfigError for a file that holds no state of a run, WeightsError for one that is damaged */
export async function readRunState(file: string): Promise<SavedState> {
  const { tensors, metadata } = await readHeader(file);
  const tree = metadata.format === KIND ? parseJson(Buffer.from(metadata.tree ?? "")) : { problem: "" };
  if ("problem" in tree)
    throw new ConfigError(`${file} does not hold the state of a run; give the folder of --checkpoint-dir`);
  const values = new Map<string, unknown>();
  for (const [name, stored] of tensors) values.set(name, await readTensor(stored));
  const read = shape.safeParse(restore(tree.value, values));
  if (read.success && isOneSize(read.data.state)) return read.data;
  throw new ConfigError(`${file} holds a run whose state is not complete; start the run anew`);
}

const floats = z.instanceof(Float32Array);
/** `SavedState`, as far as anything but a cache itself can tell. */
const shape = z.object({
  state: z.object({
    latents: floats,
    step: z.int().min(0),
    history: z.array(floats),
    rng: z.object({
      words: z.array(z.int()).length(624),
      position: z.int().min(0).max(624),
      cachedNormal: z.number().nullable(),
    }),
    momentum: floats.optional(),
  }),
  cache: z.unknown().optional(),
});

function isOneSize({ latents, history, momentum = latents }: SamplerState): boolean {
  return [...history, momentum].every(({ length }) => length === latents.length);
}

const arrays = {
  Float32Array: "F32",
  Int32Array: "I32",
  Uint32Array: "U32",
  Uint16Array: "U16",
  Uint8Array: "U8",
} as const;

/** Numbers that JSON does not have, and arrays, by a name of their own; everything else as it is. */
function flatten(value: unknown, tensors: Record<string, TensorData>, path: string): unknown {
  if (ArrayBuffer.isView(value)) {
    const name = path.slice(1);
    const dtype = arrays[value.constructor.name as keyof typeof arrays];
    if (dtype === undefined)
      throw new ConfigError(`a run cannot be saved: ${name} is a ${value.constructor.name}`);
    tensors[name] = { dtype, shape: [(value as Float32Array).length], data: value };
    return { $tensor: name };
  }
  if (value instanceof Map) {
    const entries = [...value].map(([key, each]) => [key, flatten(each, tensors, `${path}.${String(key)}`)]);
    return { $map: entries };
  }
  if (Array.isArray(value)) return value.map((each, i) => flatten(each, tensors, `${path}.${i}`));
  if (typeof value === "number" && !Number.isFinite(value)) return { $number: String(value) };
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).filter(([, each]) => each !== undefined);
  return Object.fromEntries(entries.map(([key, each]) => [key, flatten(each, tensors, `${path}.${key}`)]));
}

function restore(value: unknown, tensors: ReadonlyMap<string, unknown>): unknown {
  if (Array.isArray(value)) return value.map((each) => restore(each, tensors));
  if (typeof value !== "object" || value === null) return value;
  const { $tensor, $map, $number } = value as {
    $tensor?: string;
    $map?: [unknown, unknown][];
    $number?: string;
  };
  if ($tensor !== undefined) return tensors.get($tensor);
  if ($number !== undefined) return Number($number);
  if (Array.isArray($map)) return new Map($map.map((entry) => [entry?.[0], restore(entry?.[1], tensors)]));
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, restore(each, tensors)]));
}
