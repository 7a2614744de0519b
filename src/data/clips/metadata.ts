/** @file Rows of `metadata.jsonl` and `metadata.csv`. */
import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { ConfigError } from "../../errors.ts";
import { isRecord, parseJson } from "../../weights/json.ts";
import { type CsvRecord, parseCsv } from "./csv.ts";
import type { Row } from "./source.ts";

/** Names that a field may have, the one that counts first. */
const NAMES = {
  file: ["file", "file_name"],
  caption: ["caption", "text"],
  longCaption: ["long_caption"],
  weight: ["weight"],
} as const;

/** A row per line that is not empty, or a sentence for a line that is no JSON object. */
export async function jsonLines(file: string): Promise<(Row | string)[]> {
  const lines = (await readText(file)).split(/\r?\n/);
  return lines.flatMap((line, index) => {
    if (line.trim() === "") return [];
    const place = `${basename(file)}, line ${index + 1}`;
    const parsed = parseJson(new TextEncoder().encode(line));
    if ("problem" in parsed) return `${place}: the line ${parsed.problem}`;
    return isRecord(parsed.value)
      ? rowOf(place, parsed.value)
      : `${place}: the line must be a JSON object with "file" and "caption"`;
  });
}

/** A row per record below the header. Throws ConfigError where the header lacks a column. */
export async function csvRows(file: string): Promise<(Row | string)[]> {
  const [header, ...records] = parseCsv(await readText(file));
  const columns = header?.fields.map((name) => name.trim().toLowerCase()) ?? [];
  for (const names of [NAMES.file, NAMES.caption])
    if (!names.some((name) => columns.includes(name)))
      throw new ConfigError(
        `"${file}" has no column ${names.map((name) => `"${name}"`).join(" or ")}; its first line must name the columns`,
      );
  return records.map((record) => csvRow(basename(file), columns, record));
}

function csvRow(file: string, columns: readonly string[], { line, fields }: CsvRecord): Row | string {
  const place = `${file}, line ${line}`;
  if (fields.length !== columns.length)
    return `${place}: the line has ${fields.length} fields, and the first line names ${columns.length} columns`;
  const row = rowOf(place, Object.fromEntries(columns.map((name, i) => [name, fields[i]])));
  const weight = typeof row.weight === "string" && row.weight.trim() !== "" ? Number(row.weight) : undefined;
  return { ...row, weight: Number.isNaN(weight) ? row.weight : weight };
}

function rowOf(place: string, values: Readonly<Record<string, unknown>>): Row {
  const pick = (names: readonly string[]) =>
    names.map((name) => values[name]).find((value) => value !== undefined);
  return {
    place,
    file: pick(NAMES.file),
    caption: pick(NAMES.caption),
    longCaption: pick(NAMES.longCaption) ?? undefined,
    weight: pick(NAMES.weight) ?? undefined,
  };
}

/** The text of a file without its byte order mark. Throws ConfigError where it is not UTF-8. */
export async function readText(file: string): Promise<string> {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(await readFile(file));
  } catch (cause) {
    throw new ConfigError(`"${file}" cannot be read as UTF-8 text; save it as UTF-8`, { cause });
  }
}
