/** @file A lock on a folder for one process, which the next one takes over when its owner has died. */
import { constants, readFileSync } from "node:fs";
import { copyFile, link, readdir, readFile, rm } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { ConfigError } from "../../errors.ts";
import { isRunning } from "../../runtime/living.ts";
import { fileError } from "../../weights/file.ts";
import { parseJson } from "../../weights/json.ts";
import { temporaryName, WRITING, writeNew } from "./whole-file.ts";

export type Lock = { release(): Promise<void> };

type Owner = {
  readonly pid: number;
  readonly host: string;
  /** Tells this process from another with its number, where the system says when processes began. */
  readonly born: string | null;
};

/**
 * Locks `folder`, which must exist. Locks are numbered and the highest counts: who takes over a dead owner's writes the
 * next number, which only one can, so that two that find the same dead owner do not both go on.
 * @throws ConfigError when a living process, or one of another machine, has the lock
 */
export async function lockFolder(folder: string): Promise<Lock> {
  try {
    for (;;) {
      const lock = await tryLock(folder);
      if (lock !== null) return lock;
    }
  } catch (cause) {
    throw cause instanceof ConfigError ? cause : fileError(WRITING, folder, cause);
  }
}

/** Whether a name in a folder belongs to its locks. */
export function isLock(name: string): boolean {
  return /^lock\.\d+$/.test(name);
}

/** Null when another was faster and it has to be looked at again. */
async function tryLock(folder: string): Promise<Lock | null> {
  const highest = (await numbersIn(folder)).at(-1) ?? 0;
  if (highest > 0) await refuseLiving(folder, join(folder, `lock.${highest}`));
  const file = join(folder, `lock.${highest + 1}`);
  if (!(await publish(folder, file))) return null;
  const now = await numbersIn(folder);
  // A list is no snapshot: only a second look shows that nobody holds a higher number.
  if (now.at(-1) !== highest + 1) {
    await rm(file, { force: true });
    return null;
  }
  for (const lower of now.slice(0, -1)) await rm(join(folder, `lock.${lower}`), { force: true });
  return { release: () => rm(file, { force: true }) };
}

async function numbersIn(folder: string): Promise<number[]> {
  const names = (await readdir(folder)).filter(isLock);
  return names.map((name) => Number(name.slice("lock.".length))).sort((a, b) => a - b);
}

/** Makes the lock's file with all it says in one step; false when the name is taken. */
async function publish(folder: string, file: string): Promise<boolean> {
  const draft = join(folder, temporaryName("lock"));
  try {
    await writeNew(draft, `${JSON.stringify(self())}\n`);
    // Not every file system has links; a copy can be seen half-written, but only for a moment.
    await link(draft, file).catch((cause: NodeJS.ErrnoException) =>
      wasFaster(cause) ? Promise.reject(cause) : copyFile(draft, file, constants.COPYFILE_EXCL),
    );
    return true;
  } catch (cause) {
    if (wasFaster(cause)) return false;
    throw cause;
  } finally {
    await rm(draft, { force: true });
  }
}

/** Another process has taken the name, or got the lock and cleared the folder of drafts. */
function wasFaster(cause: unknown): boolean {
  return ["EEXIST", "ENOENT"].includes((cause as NodeJS.ErrnoException).code ?? "");
}

async function refuseLiving(folder: string, file: string): Promise<void> {
  const owner = await readOwner(file);
  if (owner === null) return;
  if (owner.host !== hostname())
    throw new ConfigError(
      `${folder} is locked by process ${owner.pid} of ${owner.host}, which cannot be looked at from ${hostname()}; ` +
        `if it is no longer training, delete ${file}`,
    );
  if (isAlive(owner))
    throw new ConfigError(
      `process ${owner.pid} is training in ${folder}; wait for it, stop it, or choose another folder`,
    );
}

/** Null for a file that is gone or says nothing, as after a loss of power. */
async function readOwner(file: string): Promise<Owner | null> {
  const bytes = await readFile(file).catch(() => new Uint8Array());
  const parsed = parseJson(bytes);
  const owner = "value" in parsed ? (parsed.value as Partial<Owner> | null) : null;
  if (typeof owner?.pid !== "number" || typeof owner.host !== "string") return null;
  return { pid: owner.pid, host: owner.host, born: owner.born ?? null };
}

function isAlive({ pid, born }: Owner): boolean {
  return isRunning(pid) && (born === null || birthOf(pid) === born);
}

function self(): Owner {
  return { pid: process.pid, host: hostname(), born: birthOf(process.pid) };
}

/** When a process began, in ticks of this boot of the machine (proc(5), stat field 22); null where nothing tells. */
function birthOf(pid: number): string | null {
  try {
    const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name in field 2 may hold spaces; it ends at the last parenthesis.
    return `${boot} ${stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]}`;
  } catch {
    return null;
  }
}
