/** @file Files that appear whole or not at all, whenever the process or the machine stops. */
import { randomUUID } from "node:crypto";
import { open, readdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileError, syncFolder, writeExactly } from "../../weights/file.ts";

/** What the errors of this folder say could not be done. */
export const WRITING = "write the run";

/** Writes under a temporary name, flushes to disk and renames, so that `file` is as before or has all of `data`. */
export async function writeWhole(file: string, data: string | Uint8Array): Promise<void> {
  const temporary = join(dirname(file), temporaryName());
  try {
    await writeNew(temporary, data);
    await rename(temporary, file);
    await syncFolder(dirname(file));
  } catch (cause) {
    await rm(temporary, { force: true });
    throw fileError(WRITING, file, cause);
  }
}

/** Writes a file that must not exist yet and flushes it to disk. */
export async function writeNew(file: string, data: string | Uint8Array): Promise<void> {
  const handle = await open(file, "wx");
  try {
    await writeExactly(handle, typeof data === "string" ? new TextEncoder().encode(data) : data, 0);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** A name that nothing else takes and that `removeLeftovers` knows; `about` makes it readable. */
export function temporaryName(about = ""): string {
  return `.${about}${about === "" ? "" : "."}${randomUUID()}.part`;
}

/** Whether a name is one of `temporaryName`, or one that a draft of the weights' writer has. */
export function isTemporary(name: string): boolean {
  return /^\.(.+\.)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.(safetensors\.)?part$/.test(name);
}

/** Removes what writers that were stopped have left in a folder, at any depth; nobody may be writing there. */
export async function removeLeftovers(folder: string): Promise<void> {
  for (const { parentPath, name } of await readdir(folder, { recursive: true, withFileTypes: true }))
    if (isTemporary(name)) await rm(join(parentPath, name), { recursive: true, force: true });
}
