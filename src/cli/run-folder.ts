/** @file A folder that a job is saved in while it runs: what was asked for, which clips are done, the state of the next. */
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { ConfigError } from "../errors.ts";
import { calibrationFile } from "../pipeline/caches/run-cache.ts";
import { readRunState, type SavedState, writeRunState } from "../pipeline/resume.ts";
import { TINY_FILE } from "../pipeline/tiny-decoder.ts";
import { version } from "../pipeline/version.ts";
import { removeLeftovers, writeWhole } from "../train/run/whole-file.ts";
import { sha256Of } from "../weights/file.ts";
import { parseJson } from "../weights/json.ts";
import { parseCache } from "./cache-option.ts";
import { removeDeadDrafts } from "./dead-drafts.ts";
import { type GenerateValues, generateTable } from "./generate-table.ts";
import { inputFiles } from "./input-files.ts";
import { argumentsOf, parseOptions } from "./options.ts";

/** A job of `cogvideox generate` with nothing left to chance. */
export type Job = {
  readonly values: GenerateValues;
  readonly prompts: readonly string[];
  readonly seeds: readonly number[];
};

const shape = z.object({
  format: z.literal("cogvideox.job.1"),
  version: z.string(),
  /** Folder in which the relative names of the job make sense. */
  cwd: z.string(),
  /** Process that runs the job. */
  pid: z.int(),
  values: z.record(z.string(), z.unknown()),
  prompts: z.array(z.string()).min(1),
  seeds: z.array(z.int()).min(1),
  /** SHA-256 of the files and folders that the clips are made from, by name. */
  sources: z.record(z.string(), z.string()),
  done: z.int().min(0),
});
type Saved = z.infer<typeof shape>;

const JOB = "job.json";
const STATE = "state.safetensors";

/** A job being saved. Every write replaces a whole file, so that the process may be killed at any moment. */
export class RunFolder {
  readonly folder: string;
  private saved: Saved;

  private constructor(folder: string, saved: Saved) {
    this.folder = folder;
    this.saved = saved;
  }

  /** @throws ConfigError for a folder that holds a job which is not finished */
  static async create(folder: string, { values, prompts, seeds }: Job): Promise<RunFolder> {
    await mkdir(folder, { recursive: true });
    const old = await stat(join(folder, JOB)).then(
      () => RunFolder.open(folder),
      () => null,
    );
    if (old && !old.isFinished)
      throw new ConfigError(
        `${folder} holds a run that is not finished; go on with it (cogvideox resume ${folder}), or remove the folder`,
      );
    await rm(join(folder, STATE), { force: true });
    const made = new RunFolder(folder, {
      ...{ format: "cogvideox.job.1", version: version(), cwd: process.cwd(), pid: process.pid },
      ...{ values, prompts: [...prompts], seeds: [...seeds], sources: await digests(values), done: 0 },
    });
    await made.write();
    return made;
  }

  /** @throws ConfigError for a folder that holds no job, or one of another version */
  static async open(folder: string): Promise<RunFolder> {
    const file = join(folder, JOB);
    const bytes = await readFile(file).catch((cause) => {
      throw new ConfigError(
        `${folder} holds no run: there is no ${file}; give the folder of --checkpoint-dir`,
        {
          cause,
        },
      );
    });
    const parsed = parseJson(bytes);
    const read = shape.safeParse("problem" in parsed ? null : parsed.value);
    if (!read.success) throw new ConfigError(`${file} is damaged; start the run anew`);
    if (read.data.version !== version())
      throw new ConfigError(
        `${folder} was written by version ${read.data.version} of cogvideox, this is ${version()}; ` +
          "a run goes on with the version that began it",
      );
    requireValues(file, read.data.values);
    return new RunFolder(folder, read.data);
  }

  get job(): Job {
    const { values, prompts, seeds } = this.saved;
    // `open` has held them to the table.
    return { values: values as unknown as GenerateValues, prompts, seeds };
  }

  /** Clips that are complete. */
  get done(): number {
    return this.saved.done;
  }

  get isFinished(): boolean {
    return this.done >= this.saved.prompts.length * this.saved.seeds.length;
  }

  get cwd(): string {
    return this.saved.cwd;
  }

  /** The state of the clip that comes next; null where it has not been saved yet. */
  async state(): Promise<SavedState | null> {
    const file = join(this.folder, STATE);
    const found = await stat(file).catch(() => null);
    return found && readRunState(file);
  }

  save(state: SavedState): Promise<void> {
    return writeRunState(join(this.folder, STATE), state);
  }

  /** A clip stands under its name. */
  async clipDone(): Promise<void> {
    this.saved = { ...this.saved, done: this.saved.done + 1 };
    await rm(join(this.folder, STATE), { force: true });
    await this.write();
  }

  /**
   * Takes the job over from a process that was killed: removes what it left half written, beside `outputs` too.
   * @throws ConfigError when a file that the clips are made from has changed
   */
  async takeOver(outputs: readonly string[]): Promise<void> {
    const { sources, values } = this.saved;
    const now = await digests(values as unknown as GenerateValues);
    const changed = Object.keys({ ...sources, ...now }).find((name) => now[name] !== sources[name]);
    if (changed !== undefined)
      throw new ConfigError(
        `${changed} has changed since the run was begun; it cannot go on with another file`,
      );
    await removeLeftovers(this.folder);
    for (const output of outputs) await removeDeadDrafts(output);
    this.saved = { ...this.saved, pid: process.pid };
    await this.write();
  }

  private async write(): Promise<void> {
    await writeWhole(join(this.folder, JOB), `${JSON.stringify(this.saved, null, 1)}\n`);
  }
}

/** @throws ConfigError for values that no call could have had */
function requireValues(file: string, values: Saved["values"]): void {
  try {
    parseOptions(argumentsOf(values), generateTable, []);
  } catch (cause) {
    throw new ConfigError(`${file} is damaged (${(cause as Error).message}); start the run anew`, { cause });
  }
}

async function digests(values: GenerateValues): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const source of sourcesOf(values)) {
    const kind = await stat(source).catch(() => null);
    if (kind !== null) found[source] = await (kind.isDirectory() ? folderDigest(source) : sha256Of(source));
  }
  return found;
}

/** Everything that the clips are made from: what the call names, and what it takes from the model's folder. */
function sourcesOf(values: GenerateValues): string[] {
  const { decoder, cache, model = "" } = values;
  const tiny = decoder === "tiny" ? join(model, TINY_FILE) : null;
  const fromModel = [tiny, calibrationFile(parseCache(cache), model)];
  return [...inputFiles(values), ...fromModel.filter((file) => file !== null)];
}

/** Of a folder, such as one of frames or a LoRA's, the names count as well. */
async function folderDigest(folder: string): Promise<string> {
  const hash = createHash("sha256");
  for (const name of (await readdir(folder, { recursive: true })).sort()) {
    const file = join(folder, name);
    if ((await stat(file)).isFile()) hash.update(`${name}\n${await sha256Of(file)}\n`);
  }
  return hash.digest("hex");
}
