/** @file A file that grows by whole records. */
import type { FileHandle } from "node:fs/promises";
import { fileError } from "../../weights/file.ts";
import { WRITING } from "./whole-file.ts";

/** An open file to which records are appended in the order of the calls; they may overlap, and records never mix. */
export class RecordFile {
  readonly file: string;
  private readonly handle: FileHandle;
  private last: Promise<void> = Promise.resolve();

  /** @param handle of `file`, opened for appending */
  constructor(file: string, handle: FileHandle) {
    this.file = file;
    this.handle = handle;
  }

  /** @throws WeightsError when the system refuses, as for a full disk; later records are tried all the same */
  append(record: string | Uint8Array): Promise<void> {
    return this.queue(() => this.handle.appendFile(record));
  }

  /** Makes what was appended survive a loss of power. */
  sync(): Promise<void> {
    return this.queue(() => this.handle.sync());
  }

  async close(): Promise<void> {
    await this.last;
    await this.handle.close();
  }

  private queue(work: () => Promise<void>): Promise<void> {
    const working = this.last.then(work);
    this.last = working.catch(() => {});
    return working.catch((cause) => {
      throw fileError(WRITING, this.file, cause);
    });
  }
}
