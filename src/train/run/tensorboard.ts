/** @file Event files that TensorBoard shows: scalars, pictures and text by step. */
import { randomUUID } from "node:crypto";
import { open, readdir } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { fileError } from "../../weights/file.ts";
import { type Event, eventRecord } from "./event-records.ts";
import { RecordFile } from "./record-file.ts";
import { WRITING } from "./whole-file.ts";

const PREFIX = "events.out.tfevents.";

/**
 * Begins a new event file in `folder`, which comes after those that are there. TensorBoard then forgets what they say
 * about `fromStep` and later: in a resumed run, steps that are done again. (Its fast loader forgets a tag's old values
 * only when new ones come.) Old files stay as they are; a record that was cut off at the end of one does no harm.
 * @param fromStep the first step that will be reported
 * @throws WeightsError when the system refuses
 */
export async function openEventFile(folder: string, fromStep: number): Promise<EventFile> {
  try {
    const file = join(folder, nextName(await readdir(folder)));
    const events = new EventFile(file, await open(file, "ax"));
    await events.add({ kind: "version" }, 0);
    await events.add({ kind: "start" }, fromStep);
    return events;
  } catch (cause) {
    throw fileError(WRITING, folder, cause);
  }
}

/** A file of events. */
export class EventFile extends RecordFile {
  /** Values of one step, by tags such as "loss/train"; the part before the slash groups them. */
  scalars(step: number, values: Readonly<Record<string, number>>): Promise<void> {
    return this.add({ kind: "scalars", values }, step);
  }

  /** A picture, as the bytes of a PNG file. */
  image(step: number, tag: string, png: Uint8Array): Promise<void> {
    return this.add({ kind: "image", tag, png }, step);
  }

  /** A text, shown as Markdown. */
  text(step: number, tag: string, markdown: string): Promise<void> {
    return this.add({ kind: "text", tag, markdown }, step);
  }

  /** @throws WeightsError when the system refuses, as for a full disk */
  add(event: Event, step: number): Promise<void> {
    return this.append(eventRecord(event, step, Date.now() / 1000));
  }
}

/** TensorBoard reads files in the order of their names: seconds since 1970 come first, and must rise. */
function nextName(existing: readonly string[]): string {
  const times = existing.filter((name) => name.startsWith(PREFIX)).map((name) => Number(name.split(".")[3]));
  const latest = Math.max(0, ...times.filter(Number.isFinite));
  const seconds = Math.max(Math.floor(Date.now() / 1000), latest + 1);
  return `${PREFIX}${String(seconds).padStart(10, "0")}.${hostname()}.${process.pid}.${randomUUID().slice(0, 8)}`;
}
