/** @file The folder of one training run: everything needed to repeat it, to follow it and to go on with it. */
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { cpus, totalmem } from "node:os";
import { join } from "node:path";
import { ConfigError } from "../../errors.ts";
import { fileError } from "../../weights/file.ts";
import { isRecord, parseJson } from "../../weights/json.ts";
import {
  checkpointSteps,
  type Keeping,
  latestCheckpoint,
  type Restored,
  type Snapshot,
  saveCheckpoint,
  tidyCheckpoints,
} from "./checkpoints.ts";
import { isLock, type Lock, lockFolder } from "./lock.ts";
import { isTemporary, removeLeftovers, WRITING, writeWhole } from "./whole-file.ts";

export type RunOptions = {
  /** The configuration as it was given: the name of its file, without folder, and all of its text. */
  readonly config: { readonly name: string; readonly text: string };
  readonly seed: number;
  /** A digest of the data, where the configuration does not say all about it. */
  readonly dataDigest?: string;
  /** false: the run must be new. true: it must exist. "auto": go on if it exists. */
  readonly resume?: boolean | "auto";
  /** Checkpoints that stay: the last `keep` (3), and with `keepEvery` those of its multiples. */
  readonly keep?: number;
  readonly keepEvery?: number | null;
  /** Names of fields in which two configurations differ and which change the numbers; by default any change does. */
  readonly differences?: (before: string, now: string) => readonly string[];
  /** As the user typed it; by default that of this process. */
  readonly commandLine?: readonly string[];
};

/** Where and with what a run was started or gone on with. */
export type Circumstances = {
  readonly version: string;
  readonly node: string;
  readonly platform: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  /** ISO 8601, in UTC. */
  readonly startedAt: string;
  readonly commandLine: readonly string[];
  readonly workingFolder: string;
  /** File of the configuration in the run's folder. */
  readonly config: string;
};

/** What `run.json` holds. */
export type RunRecord = Circumstances & {
  readonly format: 1;
  readonly seed: number;
  readonly dataDigest?: string;
  readonly resumes: readonly Circumstances[];
};

const RECORD = "run.json";
const CHECKPOINTS = "checkpoints";
const SAMPLES = "samples";
const METRICS = "metrics.jsonl";
const ours = [RECORD, CHECKPOINTS, SAMPLES, METRICS];

/**
 * Opens the folder of a run for training, makes it where it is new, and locks it until `close`. What a process that
 * was killed has left there is removed.
 * @throws ConfigError when the folder holds something else, is in use, holds a run that is not to be gone on with or no
 *   run where one is, or was started with a configuration or seed that gives other numbers
 * @throws WeightsError when the system refuses
 */
export async function openRun(folder: string, options: RunOptions): Promise<Run> {
  checkOptions(options);
  checkPlace(folder, await namesIn(folder), options);
  await mkdir(folder, { recursive: true }).catch((cause) => {
    throw fileError(WRITING, folder, cause);
  });
  const lock = await lockFolder(folder);
  try {
    // Looked at again, because another process may have made a run here before the lock was ours.
    const before = await namesIn(folder);
    const isNew = checkPlace(folder, before, options);
    await removeLeftovers(folder);
    const record = isNew ? await createRun(folder, options) : await reopenRun(folder, options);
    for (const part of [CHECKPOINTS, SAMPLES]) await mkdir(join(folder, part), { recursive: true });
    await tidyCheckpoints(join(folder, CHECKPOINTS));
    return new Run(folder, record, lock, { ...options, before });
  } catch (cause) {
    await lock.release();
    throw cause;
  }
}

/** A run that this process alone trains in. */
export class Run {
  readonly folder: string;
  readonly record: RunRecord;
  /** Sentences for the user, such as that the version is not the one that the run was started with. */
  readonly notes: string[];
  private readonly lock: Lock;
  private readonly keeping: Keeping;
  /** Names that were in the folder before it was opened. */
  private readonly before: readonly string[];

  constructor(
    folder: string,
    record: RunRecord,
    lock: Lock,
    { keep = 3, keepEvery = null, before }: RunOptions & { readonly before: readonly string[] },
  ) {
    this.folder = folder;
    this.record = record;
    this.lock = lock;
    this.keeping = { keep, keepEvery };
    this.before = before;
    this.notes = changesOf(record);
  }

  get metricsFile(): string {
    return join(this.folder, METRICS);
  }

  get samplesFolder(): string {
    return join(this.folder, SAMPLES);
  }

  /** Steps that can be gone back to, rising. */
  steps(): Promise<number[]> {
    return checkpointSteps(join(this.folder, CHECKPOINTS));
  }

  /** Saves a step whole or not at all, see `saveCheckpoint`. */
  save(snapshot: Snapshot): Promise<void> {
    return saveCheckpoint(join(this.folder, CHECKPOINTS), snapshot, this.keeping);
  }

  /**
   * The newest whole checkpoint, undefined in a run that has none yet. `notes` tells of newer ones that are damaged.
   * @throws WeightsError when all are damaged
   */
  async latest(): Promise<Restored | undefined> {
    const found = await latestCheckpoint(join(this.folder, CHECKPOINTS));
    this.notes.push(...(found?.damaged ?? []));
    return found?.restored;
  }

  /** Removes everything that has come into the folder since it was opened, but for the lock. */
  async discard(): Promise<void> {
    for (const name of await readdir(this.folder))
      if (!this.before.includes(name) && !isLock(name))
        await rm(join(this.folder, name), { recursive: true, force: true });
  }

  /** Lets another process train here. */
  close(): Promise<void> {
    return this.lock.release();
  }
}

function checkOptions({ config: { name }, keep = 3, keepEvery = null }: RunOptions): void {
  if (!/^[^./\\][^/\\]*$/.test(name) || ours.includes(name) || isLock(name))
    throw new ConfigError(`the configuration's name is "${name}"; give a file name such as "train.json"`);
  if (!Number.isInteger(keep) || keep < 1)
    throw new ConfigError(`keep must be at least 1 checkpoint, got ${keep}`);
  if (keepEvery !== null && (!Number.isInteger(keepEvery) || keepEvery < 1))
    throw new ConfigError(`keepEvery must be a number of steps from 1, got ${keepEvery}`);
}

/** Nothing for a folder that does not exist. */
function namesIn(folder: string): Promise<string[]> {
  return readdir(folder).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === "ENOENT") return [];
    if (cause.code === "ENOTDIR")
      throw new ConfigError(`${folder} is a file; name a folder for the training run`, { cause });
    throw fileError("read the run", folder, cause);
  });
}

/** Whether the folder is free for a new run; throws where the options want something else. */
function checkPlace(folder: string, names: readonly string[], { resume, config }: RunOptions): boolean {
  const isRun = names.includes(RECORD);
  // A start that was killed leaves the configuration before the record.
  const foreign = names.find((name) => !isLock(name) && !isTemporary(name) && name !== config.name);
  if (!isRun && foreign !== undefined)
    throw new ConfigError(
      `${folder} is not a training run: it holds "${foreign}" and no ${RECORD}; choose a new folder`,
    );
  if (!isRun && resume === true)
    throw new ConfigError(
      `${folder} holds no training run to resume; check the path, or start without resume`,
    );
  if (isRun && (resume ?? false) === false)
    throw new ConfigError(`${folder} already holds a training run; resume it, or choose another folder`);
  return !isRun;
}

async function createRun(folder: string, options: RunOptions): Promise<RunRecord> {
  const { config, seed, dataDigest } = options;
  const file = join(folder, config.name);
  const found = await readFile(file, "utf8").catch(() => config.text);
  if (found !== config.text)
    throw new ConfigError(`${file} exists and is not the configuration of this run; choose a new folder`);
  await writeWhole(file, config.text);
  const record: RunRecord = {
    format: 1,
    seed,
    dataDigest,
    ...circumstances(options, config.name),
    resumes: [],
  };
  await writeRecord(folder, record);
  return record;
}

async function reopenRun(folder: string, options: RunOptions): Promise<RunRecord> {
  const record = await readRecord(folder);
  const { config, seed, differences = anyDifference } = options;
  const before = await readFile(join(folder, record.config), "utf8").catch((cause) => {
    throw fileError("read the run", join(folder, record.config), cause);
  });
  const isOther = (now: unknown, then: unknown) => then !== undefined && now !== then;
  const changed = [
    ...differences(before, config.text),
    ...(isOther(seed, record.seed) ? ["the seed"] : []),
    ...(isOther(options.dataDigest, record.dataDigest) ? ["the files or captions of its data set"] : []),
  ];
  if (changed.length > 0)
    throw new ConfigError(
      `${folder} was started with another configuration: ${changed.join(", ")} would change its numbers; ` +
        `go on with ${record.config} of that folder and the data it had, or start a new run`,
    );
  // What a run was resumed with is kept beside what it was started with.
  const name = before === config.text ? record.config : `resume-${record.resumes.length + 1}-${config.name}`;
  if (before !== config.text) await writeWhole(join(folder, name), config.text);
  const resumed = { ...record, resumes: [...record.resumes, circumstances(options, name)] };
  await writeRecord(folder, resumed);
  return resumed;
}

function anyDifference(before: string, now: string): readonly string[] {
  return before === now ? [] : ["its text"];
}

/**
 * What `run.json` of a folder holds.
 * @throws ConfigError when it is not the record of a run
 */
export async function readRecord(folder: string): Promise<RunRecord> {
  const file = join(folder, RECORD);
  const bytes = await readFile(file).catch((cause) => {
    throw fileError("read the run", file, cause);
  });
  const parsed = parseJson(bytes);
  const value = "value" in parsed ? parsed.value : undefined;
  if (!isRecord(value) || value.format !== 1 || typeof value.config !== "string")
    throw new ConfigError(`${file} is not the record of a training run, or one of a newer version`);
  // Written by `writeRecord`; of its other fields only messages are made.
  return value as RunRecord;
}

function writeRecord(folder: string, record: RunRecord): Promise<void> {
  return writeWhole(join(folder, RECORD), `${JSON.stringify(record, null, 2)}\n`);
}

function circumstances({ commandLine = process.argv }: RunOptions, config: string): Circumstances {
  const manifest: unknown = createRequire(import.meta.url)("cogvideox/package.json");
  return {
    version: (manifest as { version: string }).version,
    node: process.version,
    platform: `${process.platform} ${process.arch}`,
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    memoryBytes: totalmem(),
    startedAt: new Date().toISOString(),
    commandLine,
    workingFolder: process.cwd(),
    config,
  };
}

/** Numbers may come out differently in the last digits where these differ. */
function changesOf({ resumes, ...start }: RunRecord): string[] {
  const now = resumes.at(-1);
  if (now === undefined) return [];
  const changed = (["version", "node", "platform", "cpu"] as const).filter((key) => now[key] !== start[key]);
  return changed.map(
    (key) =>
      `the run was started with ${key} "${start[key]}" and goes on with "${now[key]}"; numbers may differ`,
  );
}
