/** @file A file under a temporary name beside its final place, which it takes only when it is complete. */
import { randomUUID } from "node:crypto";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { WeightsError } from "../errors.ts";
import { fileError, statFile, syncFolder, writeExactly } from "./file.ts";

const action = "write weights";

/** A failure of any call but `discard` is a WeightsError and discards the draft. */
export class Draft {
  readonly #file: string;
  readonly #temporary: string;
  /** Undefined once published or discarded. */
  #handle: FileHandle | undefined;
  #position = 0;

  private constructor(file: string, temporary: string, handle: FileHandle) {
    this.#file = file;
    this.#temporary = temporary;
    this.#handle = handle;
  }

  /** @throws {WeightsError} when the folder is missing or cannot be written to. */
  static async open(file: string): Promise<Draft> {
    // The same folder, because a rename is atomic only within one file system.
    const folder = dirname(file);
    if (!(await statFile(action, folder)).isDirectory())
      throw unwritable(file, `${folder} is not a folder; choose another path`);
    const temporary = join(folder, `.${randomUUID()}.safetensors.part`);
    try {
      return new Draft(file, temporary, await open(temporary, "wx"));
    } catch (cause) {
      throw fileError(action, folder, cause);
    }
  }

  append(data: ArrayBufferView): Promise<void> {
    return this.#orDiscard(async (handle) => {
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      await writeExactly(handle, bytes, this.#position);
      this.#position += bytes.byteLength;
    });
  }

  /** Flushes to disk, then replaces what stands at the final place in one step. */
  publish(): Promise<void> {
    return this.#orDiscard(async (handle) => {
      await handle.sync();
      await handle.close();
      await rename(this.#temporary, this.#file);
      this.#handle = undefined;
      await syncFolder(dirname(this.#file));
    });
  }

  /** Removes the temporary file; the final place stays as it is. Does nothing after `publish`. */
  async discard(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    if (!handle) return;
    // Best effort: where this fails too, the first error is the one to report.
    await handle.close().catch(() => {});
    await rm(this.#temporary, { force: true }).catch(() => {});
  }

  async #orDiscard(work: (handle: FileHandle) => Promise<void>): Promise<void> {
    if (!this.#handle) throw unwritable(this.#file, "its writer was closed or has failed; open a new one");
    try {
      await work(this.#handle);
    } catch (cause) {
      await this.discard();
      throw fileError(action, this.#file, cause);
    }
  }
}

/** The error for a file whose content, not the system, is the obstacle. */
export function unwritable(file: string, what: string): WeightsError {
  return new WeightsError(`cannot ${action} to ${file}: ${what}`);
}
