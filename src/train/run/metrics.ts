/** @file Metrics of a run as lines of JSON: written step by step, cut back on resume, read for plots. */
import { open, readFile } from "node:fs/promises";
import { ConfigError } from "../../errors.ts";
import { fileError } from "../../weights/file.ts";
import { isRecord } from "../../weights/json.ts";
import { RecordFile } from "./record-file.ts";
import { WRITING, writeWhole } from "./whole-file.ts";

/** What was measured at a step. */
export type Metrics = { readonly step: number; readonly [name: string]: number | string | boolean | null };

/** JSON has no such numbers; a run that diverges should still show them. */
const nonFinite: Readonly<Record<string, number>> = {
  NaN: Number.NaN,
  Infinity: Number.POSITIVE_INFINITY,
  "-Infinity": Number.NEGATIVE_INFINITY,
};

/**
 * Opens a file of metrics for more of them. What it has of steps after `lastStep` is removed, and a line that was cut
 * off when its writer was killed.
 * @param lastStep the step that the run goes on from; 0 for a start
 * @throws WeightsError when the system refuses
 */
export async function openMetrics(file: string, lastStep: number): Promise<MetricsLog> {
  const text = await textOf(file);
  const kept = wholeLines(text).filter(
    (line) => (parseLine(line)?.step ?? Number.POSITIVE_INFINITY) <= lastStep,
  );
  const wanted = kept.map((line) => `${line}\n`).join("");
  if (wanted !== text) await writeWhole(file, wanted);
  try {
    return new MetricsLog(file, await open(file, "a"));
  } catch (cause) {
    throw fileError(WRITING, file, cause);
  }
}

/** A file of metrics; a `sync` should come before every save. */
export class MetricsLog extends RecordFile {
  /** @throws WeightsError when the system refuses, as for a full disk */
  add(metrics: Metrics): Promise<void> {
    const writable = (_: string, value: unknown) =>
      typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
    return this.append(`${JSON.stringify(metrics, writable)}\n`);
  }
}

/**
 * Metrics of a run in the order of their lines; also of one that is being written. None where there is no file yet.
 * @throws ConfigError for a line that no run has written
 */
export async function readMetrics(file: string): Promise<Metrics[]> {
  return wholeLines(await textOf(file)).map((line, i) => {
    const metrics = parseLine(line);
    if (metrics === null)
      throw new ConfigError(`line ${i + 1} of ${file} is not a JSON object with a step; remove the line`);
    return metrics;
  });
}

/** Steps and values of one metric, where it was measured. */
export function seriesOf(metrics: readonly Metrics[], name: string): { steps: number[]; values: number[] } {
  const measured = metrics.filter((line) => typeof line[name] === "number");
  return { steps: measured.map(({ step }) => step), values: measured.map((line) => Number(line[name])) };
}

async function textOf(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw fileError("read metrics", file, cause);
  }
}

/** What stands behind the last line break was cut off or is still being written. */
function wholeLines(text: string): string[] {
  return text.split("\n").slice(0, -1);
}

/** Null for what is not a line of metrics. */
function parseLine(line: string): Metrics | null {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return null;
  }
  if (!isRecord(value) || typeof value.step !== "number") return null;
  const restored = Object.entries(value).map(([name, item]) => [
    name,
    typeof item === "string" && Object.hasOwn(nonFinite, item) ? nonFinite[item] : item,
  ]);
  return Object.fromEntries(restored);
}
