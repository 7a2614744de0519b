/** @file Opens files, reads and writes them by position, takes their digests, and puts system errors into words. */
import { createHash } from "node:crypto";
import { createReadStream, type Stats } from "node:fs";
import { type FileHandle, open, stat } from "node:fs/promises";
import { WeightsError } from "../errors.ts";

/** Linux moves at most 2 GiB - 4 KiB in one call and Node refuses more than 2^31 - 1. */
const maxTransfer = 2 ** 30;

/** Whether there is something at a path that this user can see; links are followed. */
export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** A value for a message: quoted, and cut where it is long, because headers of broken files hold anything. */
export function show(value: unknown): string {
  if (typeof value === "object" && value !== null && !isShort(value))
    return Array.isArray(value) ? `an array of ${value.length}` : "an object";
  const text =
    JSON.stringify(value, (_, item) => (typeof item === "bigint" ? `${item}n` : item)) ?? "nothing";
  return text.length <= 120 ? text : `${text.slice(0, 117)}...`;
}

/** Names for a message; of many the first, and how many more there are. */
export function showNames(names: Iterable<string>): string {
  const all = [...names];
  if (all.length === 0) return "none";
  const more = all.length > 6 ? ` and ${all.length - 4} more` : "";
  return `${all.slice(0, more === "" ? 6 : 4).join(", ")}${more}`;
}

function isShort(value: object): boolean {
  return Array.isArray(value) && value.length <= 12 && value.every((item) => typeof item !== "object");
}

const reasons: Readonly<Record<string, (file: string) => string>> = {
  ENOENT: (file) => `${file} does not exist; check the path`,
  ENOTDIR: (file) => `a part of the path ${file} is a file, not a folder; check the path`,
  EISDIR: (file) => `${file} is a folder, not a file; give the path of a file`,
  EACCES: (file) => `this user has no permission for ${file}; change its owner or mode`,
  EPERM: (file) => `the system does not permit it for ${file}; change its owner or mode`,
  EROFS: (file) => `${file} lies on a read-only file system; choose another folder`,
  ENOSPC: (file) => `the disk that holds ${file} is full; free space or choose another folder`,
  EDQUOT: (file) => `the disk quota for ${file} is used up; free space or choose another folder`,
  EFBIG: (file) => `the file system of ${file} does not hold files this large; choose another folder`,
  EMFILE: () => "too many files are open; raise the limit (ulimit -n)",
  ENAMETOOLONG: () => "the path is too long; choose a shorter one",
  ELOOP: (file) => `${file} is a symbolic link that leads back to itself; repair the link`,
};

/** A sentence for a failed system call. `action` completes "cannot ...", for example "read weights". */
export function fileError(action: string, file: string, cause: unknown): WeightsError {
  if (cause instanceof WeightsError) return cause;
  const { code, message } = cause as NodeJS.ErrnoException;
  const reason = code && Object.hasOwn(reasons, code) ? reasons[code](file) : `${file}: ${message}`;
  return new WeightsError(`cannot ${action}: ${reason}`, { cause });
}

/** What stands at `file`, links followed. */
export async function statFile(action: string, file: string): Promise<Stats> {
  try {
    return await stat(file);
  } catch (cause) {
    throw fileError(action, file, cause);
  }
}

/** Runs `use` with the regular file opened for reading, and closes it on every way out. */
export async function withFile<T>(
  file: string,
  use: (handle: FileHandle, size: number) => Promise<T>,
): Promise<T> {
  // Asked before opening: opening a named pipe would wait for a writer.
  const found = await statFile("read weights", file);
  if (!found.isFile())
    throw new WeightsError(
      `cannot read weights: ${file} is not a file; give the path of a .safetensors file`,
    );
  let handle: FileHandle | undefined;
  try {
    handle = await open(file, "r");
    return await use(handle, (await handle.stat()).size);
  } catch (cause) {
    throw fileError("read weights", file, cause);
  } finally {
    await handle?.close();
  }
}

/** SHA-256 of what a file holds, as hexadecimal digits. @throws WeightsError */
export async function sha256Of(file: string): Promise<string> {
  const hash = createHash("sha256");
  try {
    for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
    return hash.digest("hex");
  } catch (cause) {
    throw fileError("read", file, cause);
  }
}

/** Fills `into` from the byte offset `position`, which may lie beyond 4 GiB. */
export async function readExactly(
  handle: FileHandle,
  file: string,
  into: Uint8Array,
  position: number,
): Promise<void> {
  let done = 0;
  while (done < into.byteLength) {
    const length = Math.min(maxTransfer, into.byteLength - done);
    const { bytesRead } = await handle.read(into, done, length, position + done);
    if (bytesRead === 0)
      throw new WeightsError(
        `${file} ends at byte ${position + done}, but ${into.byteLength - done} more bytes belong to the data; ` +
          "the file was cut short while it was read: fetch it again",
      );
    done += bytesRead;
  }
}

/** Writes all of `data` at the byte offset `position`. */
export async function writeExactly(handle: FileHandle, data: Uint8Array, position: number): Promise<void> {
  let done = 0;
  while (done < data.byteLength) {
    const length = Math.min(maxTransfer, data.byteLength - done);
    done += (await handle.write(data, done, length, position + done)).bytesWritten;
  }
}

/** Makes the names in a folder durable. Not every system lets a folder be synced, and what is in the files is safe without. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r").catch(() => undefined);
  await handle?.sync().catch(() => {});
  await handle?.close().catch(() => {});
}
