/** @file What a data set of clips consists of, and how a row of it is judged. */
import { stat } from "node:fs/promises";
import { relative, resolve, sep } from "node:path";

/** A clip with its caption. */
export interface ClipSource {
  /** Path relative to the data set, with forward slashes; from the second row of a file on with `#2`, `#3`, ... */
  readonly id: string;
  /** Absolute path of a video file, an animation, an image (a clip of one frame) or a folder of frames. */
  readonly file: string;
  readonly caption: string;
  readonly longCaption: string | null;
  /** How often the clip is drawn in an epoch, on average; above 0. */
  readonly weight: number;
}

/** The clips of a data set, and a sentence for every row that is broken, naming file and line. */
export interface ClipList {
  readonly clips: readonly ClipSource[];
  readonly problems: readonly string[];
}

/** What a row says, before it is judged. */
export type Row = {
  /** Where the row stands: `metadata.jsonl, line 3`. */
  readonly place: string;
  readonly file: unknown;
  readonly caption: unknown;
  readonly longCaption?: unknown;
  readonly weight?: unknown;
};

/** Judges the rows of the data set in `folder`; file names are relative to it. */
export async function clipsOf(
  folder: string,
  rows: AsyncIterable<Row | string> | Iterable<Row | string>,
): Promise<ClipList> {
  const clips: ClipSource[] = [];
  const problems: string[] = [];
  const seen = new Map<string, number>();
  for await (const row of rows) {
    const clip = typeof row === "string" ? row : await clipOf(folder, row);
    if (typeof clip === "string") {
      problems.push(clip);
      continue;
    }
    const count = (seen.get(clip.id) ?? 0) + 1;
    seen.set(clip.id, count);
    clips.push(count === 1 ? clip : { ...clip, id: `${clip.id}#${count}` });
  }
  return { clips, problems };
}

/** The clip, or what is wrong with its row. */
async function clipOf(folder: string, row: Row): Promise<ClipSource | string> {
  const { place, longCaption = null, weight = 1 } = row;
  if (typeof row.file !== "string" || row.file.trim() === "")
    return `${place}: the file must be a path relative to the data set, got ${show(row.file)}`;
  if (typeof row.caption !== "string" || row.caption.trim() === "")
    return `${place}: the caption of "${row.file}" must be a text that is not empty, got ${show(row.caption)}`;
  if (longCaption !== null && typeof longCaption !== "string")
    return `${place}: the long caption of "${row.file}" must be a text, got ${show(longCaption)}`;
  if (typeof weight !== "number" || !Number.isFinite(weight) || weight <= 0)
    return `${place}: the weight of "${row.file}" must be a number above 0, got ${show(weight)}`;
  const file = resolve(folder, row.file.trim());
  const isThere = await stat(file).then(
    () => true,
    () => false,
  );
  if (!isThere) return `${place}: there is no file "${file}"`;
  const long = longCaption?.trim() ?? "";
  return {
    id: relative(resolve(folder), file).split(sep).join("/"),
    file,
    caption: row.caption.trim(),
    longCaption: long === "" ? null : long,
    weight,
  };
}

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length <= 60 ? text : `${text.slice(0, 57)}...`;
}
