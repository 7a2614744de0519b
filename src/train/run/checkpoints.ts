/** @file Checkpoints of a run: tensors and plain state of a step, saved whole, read back checked, cleared when old. */
import { mkdir, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { ConfigError, WeightsError } from "../../errors.ts";
import type { Shape } from "../../graph/shape.ts";
import { fileError, syncFolder } from "../../weights/file.ts";
import { isRecord, parseJson } from "../../weights/json.ts";
import { readFloats } from "../../weights/read.ts";
import { readHeader } from "../../weights/safetensors.ts";
import { openSafetensorsWriter } from "../../weights/write.ts";
import type { TrainingTensors } from "../learner.ts";
import { removeLeftovers, temporaryName, WRITING, writeWhole } from "./whole-file.ts";

/** Tensors that are fetched one after the other, so that a save never holds them all. */
export type TensorSource = {
  /** In the order in which they are read and stored. */
  readonly shapes: ReadonlyMap<string, Shape>;
  read(name: string): Promise<Float32Array> | Float32Array;
};

/** Plain values that JSON holds. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** What a step leaves for the next. */
export type Snapshot = {
  /** Steps done, from 1. */
  readonly step: number;
  /** What is being trained, such as "vae"; a run goes on only with the same. */
  readonly task: string;
  readonly tensors: TensorSource | TrainingTensors;
  /** The trainer's own. */
  readonly state: Json;
};

/** A snapshot read back. */
export type Restored = Omit<Snapshot, "tensors"> & { readonly tensors: TrainingTensors };

/** Which checkpoints stay: the last `keep`, and every one whose step is a multiple of `keepEvery`. */
export type Keeping = { readonly keep: number; readonly keepEvery: number | null };

const TENSORS = "state.safetensors";
const STATE = "state.json";
const REPLACED = ".replaced.part";

/**
 * Saves a snapshot in `<folder>/step-<step>`, then removes old checkpoints, and those of later steps, which a run that
 * was taken back has left behind. A checkpoint of the same step is replaced.
 * @throws WeightsError when the system refuses, such as for a full disk; older checkpoints are then untouched
 * @throws ConfigError when the state is not plain JSON
 */
export async function saveCheckpoint(folder: string, snapshot: Snapshot, keeping: Keeping): Promise<void> {
  const { step, task, state } = snapshot;
  if (!Number.isSafeInteger(step) || step < 0)
    throw new ConfigError(`a checkpoint's step must be a whole number of steps, got ${step}`);
  const name = nameOf(step);
  const draft = join(folder, temporaryName(name));
  try {
    await mkdir(draft);
    const tensors = await writeTensors(join(draft, TENSORS), asSource(snapshot.tensors));
    await writeWhole(join(draft, STATE), toText({ step, task, tensors, state }));
    await replace(folder, draft, name);
    await clearOld(folder, step, keeping);
  } catch (cause) {
    await rm(draft, { recursive: true, force: true });
    throw cause instanceof ConfigError ? cause : fileError(WRITING, join(folder, name), cause);
  }
}

/** Steps that have a checkpoint, rising. */
export async function checkpointSteps(folder: string): Promise<number[]> {
  const found = (await readdir(folder)).map((name) => /^step-(\d{8,})$/.exec(name));
  return found.flatMap((match) => (match === null ? [] : [Number(match[1])])).sort((a, b) => a - b);
}

/**
 * Reads a checkpoint back, every byte checked against the checksum it was saved with.
 * @throws WeightsError when it is not what was saved
 */
export async function readCheckpoint(folder: string, step: number): Promise<Restored> {
  const place = join(folder, nameOf(step));
  const { task, state, tensors: expected } = await readState(join(place, STATE), step);
  const file = join(place, TENSORS);
  const tensors = new Map<string, { shape: Shape; data: Float32Array }>();
  let checksum = 0;
  for (const [name, stored] of (await readHeader(file)).tensors) {
    const data = await readFloats(stored);
    checksum = crc32(data, checksum);
    tensors.set(name, { shape: stored.shape, data });
  }
  if (checksum !== expected.crc32)
    throw new WeightsError(
      `${file} has the checksum ${checksum}, but was saved with ${expected.crc32}: its data has changed on disk`,
    );
  return { step, task, state, tensors };
}

/**
 * The newest checkpoint that is whole, and a sentence for every newer one that is not; undefined without checkpoints.
 * @throws WeightsError when there are checkpoints, and none of them is whole
 */
export async function latestCheckpoint(
  folder: string,
): Promise<{ readonly restored: Restored; readonly damaged: readonly string[] } | undefined> {
  const steps = (await checkpointSteps(folder)).reverse();
  const damaged: string[] = [];
  for (const step of steps)
    try {
      return { restored: await readCheckpoint(folder, step), damaged };
    } catch (cause) {
      if (!(cause instanceof WeightsError)) throw cause;
      damaged.push(`the checkpoint of step ${step} is damaged and is passed over: ${cause.message}`);
    }
  if (steps.length === 0) return undefined;
  throw new WeightsError(
    `none of the ${steps.length} checkpoints in ${folder} is whole; delete them to start from the beginning. ` +
      `The newest: ${damaged[0]}`,
  );
}

/** Removes what a stopped process has left, and puts back a checkpoint whose replacement never came. */
export async function tidyCheckpoints(folder: string): Promise<void> {
  const names = await readdir(folder);
  for (const name of names) {
    if (!name.startsWith(".step-") || !name.endsWith(REPLACED)) continue;
    const original = name.slice(1, -REPLACED.length);
    if (names.includes(original)) await rm(join(folder, name), { recursive: true, force: true });
    else await rename(join(folder, name), join(folder, original));
  }
  await removeLeftovers(folder);
}

/** A source of tensors that are in memory anyway. */
function asSource(tensors: TensorSource | TrainingTensors): TensorSource {
  if ("read" in tensors) return tensors;
  const shapes = new Map([...tensors].map(([name, { shape }]) => [name, shape]));
  return { shapes, read: (name) => tensors.get(name)!.data };
}

async function writeTensors(file: string, { shapes, read }: TensorSource): Promise<{ crc32: number }> {
  const layout = [...shapes].map(([name, shape]) => ({ name, shape, dtype: "F32" as const }));
  const writer = await openSafetensorsWriter(file, layout);
  let checksum = 0;
  try {
    for (const { name } of layout) {
      const data = await read(name);
      checksum = crc32(data, checksum);
      await writer.append(data);
    }
  } catch (cause) {
    await writer.abort();
    throw cause;
  }
  await writer.close();
  return { crc32: checksum };
}

function toText(value: Json): string {
  const plain = (key: string, item: unknown) => {
    if (typeof item === "number" && !Number.isFinite(item))
      throw new ConfigError(`the state of a checkpoint has ${item} under "${key}", which JSON cannot hold`);
    return item;
  };
  return `${JSON.stringify(value, plain, 2)}\n`;
}

/** Puts the draft in its place; at no moment is there neither the old nor the new one to be found. */
async function replace(folder: string, draft: string, name: string): Promise<void> {
  const place = join(folder, name);
  const aside = join(folder, `.${name}${REPLACED}`);
  await rm(aside, { recursive: true, force: true });
  await rename(place, aside).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code !== "ENOENT") throw cause;
  });
  await rename(draft, place);
  await syncFolder(folder);
  await rm(aside, { recursive: true, force: true });
}

async function clearOld(folder: string, current: number, { keep, keepEvery }: Keeping): Promise<void> {
  const steps = await checkpointSteps(folder);
  const past = steps.filter((step) => step <= current);
  const old = past.slice(0, -keep).filter((step) => keepEvery === null || step % keepEvery !== 0);
  for (const step of [...old, ...steps.filter((step) => step > current)]) {
    // Under a temporary name first: half a checkpoint must not keep the name of a whole one.
    const condemned = join(folder, temporaryName(nameOf(step)));
    await rename(join(folder, nameOf(step)), condemned);
    await rm(condemned, { recursive: true, force: true });
  }
}

async function readState(file: string, step: number) {
  const broken = (what: string) => new WeightsError(`${file} is not the state of a checkpoint: ${what}`);
  const bytes = await readFile(file).catch((cause) => {
    throw fileError("read a checkpoint", file, cause);
  });
  const parsed = parseJson(bytes);
  if ("problem" in parsed) throw broken(`it ${parsed.problem}`);
  const value = parsed.value;
  if (!isRecord(value) || value.step !== step || typeof value.task !== "string" || !isRecord(value.tensors))
    throw broken(`it does not have the step ${step}, the task and the checksum of its tensors`);
  // Everything in it came from JSON.
  return { task: value.task, state: value.state as Json, tensors: value.tensors };
}

function nameOf(step: number): string {
  return `step-${String(step).padStart(8, "0")}`;
}
