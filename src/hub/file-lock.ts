/** @file The lock that keeps two programs from downloading the same blob: flock on the file that Python locks too. */
import { constants } from "node:fs";
import { type FileHandle, mkdir, open, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import koffi from "koffi";
import { CancelledError } from "../errors.ts";
import { fileError } from "../weights/file.ts";

const LOCK_EX = 2;
const LOCK_NB = 4;
const POLL_MS = 200;

/**
 * Runs `use` while holding the lock on `file`, waiting for whoever has it. Where the system has no flock, and on file
 * systems that do not keep it, `use` runs without: downloads then cost twice, but writers put the same bytes in the same
 * places, and only what has the right checksum gets its name.
 * @param onWait is told once that somebody else has the lock
 * @throws CancelledError; WeightsError where the lock's file cannot be made
 */
export async function withLock<T>(
  file: string,
  { signal, onWait }: { readonly signal?: AbortSignal; readonly onWait?: () => void },
  use: () => Promise<T>,
): Promise<T> {
  const handle = await acquire(file, signal, onWait);
  try {
    return await use();
  } finally {
    // Closing gives the lock back. The file stays: a name that comes and goes would be two locks.
    await handle.close();
  }
}

async function acquire(
  file: string,
  signal: AbortSignal | undefined,
  onWait: (() => void) | undefined,
): Promise<FileHandle> {
  const flock = loadFlock();
  for (let waits = 0; ; waits++) {
    const handle = await openLock(file);
    if (flock === null) return handle;
    const { locked, code } = flock(handle.fd);
    if (!locked && !busyCodes.includes(code)) return handle;
    if (locked && (await isStill(handle, file))) return handle;
    await handle.close();
    if (waits === 0 && !locked) onWait?.();
    await sleep(locked ? 0 : POLL_MS, undefined, { signal }).catch((cause) => {
      throw new CancelledError("stopped while another program downloads the same file", { cause });
    });
  }
}

async function openLock(file: string): Promise<FileHandle> {
  try {
    await mkdir(dirname(file), { recursive: true });
    return await open(file, constants.O_RDWR | constants.O_CREAT, 0o664);
  } catch (cause) {
    throw fileError("lock a file of the cache of models", file, cause);
  }
}

/** EWOULDBLOCK and EINTR of Linux and of macOS. */
const busyCodes = [koffi.os.errno.EAGAIN, koffi.os.errno.EINTR];

/** The last owner may have removed the file between our opening and our locking it. */
async function isStill(handle: FileHandle, file: string): Promise<boolean> {
  const [ours, named] = await Promise.all([handle.stat(), stat(file).catch(() => null)]);
  return named !== null && ours.ino === named.ino && ours.dev === named.dev;
}

type Flock = (fd: number) => { readonly locked: boolean; readonly code: number };

function loadFlock(): Flock | null {
  const names: Partial<Record<NodeJS.Platform, string>> = { linux: "libc.so.6", darwin: "libSystem.dylib" };
  const name = names[process.platform];
  if (name === undefined) return null;
  try {
    const flock = koffi.load(name).func("int flock(int, int)");
    return (fd) => ({ locked: flock(fd, LOCK_EX | LOCK_NB) === 0, code: koffi.errno() });
  } catch {
    return null;
  }
}
