/** @file Finds the clips of a data set in a folder, whichever of the known layouts it has. */
import { readdir, stat } from "node:fs/promises";
import { extname, join, relative, sep } from "node:path";
import { ConfigError } from "../../errors.ts";
import { csvRows, jsonLines, readText } from "./metadata.ts";
import { type ClipList, clipsOf, type Row } from "./source.ts";

const VIDEOS = /\.(mp4|m4v|mov|mkv|webm|avi|gif)$/i;

/**
 * Reads a data set. The first of these layouts that the folder has counts:
 * 1. `metadata.jsonl`, or `metadata.csv` with a first line that names the columns: `file` or `file_name`, `caption` or
 *    `text`, and if wanted `long_caption` and `weight`;
 * 2. `videos.txt` and `prompts.txt` (or `prompt.txt`), line by line the path of a video and its caption: the layout of
 *    the official fine-tuning scripts;
 * 3. videos at any depth, each with its caption in the first line of a .txt file of the same name: beside it, or with
 *    `labels` in place of `videos` in its path (the layout of the SAT scripts).
 * Broken rows are in `problems` and not in `clips`; nothing is decoded.
 * @throws ConfigError where there is no such folder or layout, or the lists of layout 2 differ in length
 */
export async function readClipFolder(folder: string): Promise<ClipList> {
  const names = await readdir(folder).catch((cause) => {
    throw new ConfigError(`there is no folder "${folder}" with a data set; check the path`, { cause });
  });
  const list = await clipsOf(folder, await rowsOf(folder, names));
  if (list.clips.length === 0 && list.problems.length === 0)
    throw new ConfigError(
      `"${folder}" holds no data set: no metadata.jsonl or metadata.csv, no videos.txt with prompts.txt, and no videos`,
    );
  return list;
}

/** @throws ConfigError with the number of problems and the first three, where there are any. */
export function requireWhole({ problems }: ClipList, folder: string): void {
  if (problems.length === 0) return;
  const first = problems.slice(0, 3).join("; ");
  throw new ConfigError(
    `the data set in "${folder}" has ${problems.length} broken ${problems.length === 1 ? "row" : "rows"}: ` +
      `${first}${problems.length > 3 ? "; ..." : ""}`,
  );
}

async function rowsOf(folder: string, names: readonly string[]): Promise<(Row | string)[]> {
  if (names.includes("metadata.jsonl")) return jsonLines(join(folder, "metadata.jsonl"));
  if (names.includes("metadata.csv")) return csvRows(join(folder, "metadata.csv"));
  const prompts = ["prompts.txt", "prompt.txt"].find((name) => names.includes(name));
  if (names.includes("videos.txt") && prompts !== undefined)
    return pairedLines(folder, "videos.txt", prompts);
  return captionFiles(folder);
}

async function pairedLines(folder: string, videos: string, prompts: string): Promise<Row[]> {
  const [files, captions] = [await linesOf(join(folder, videos)), await linesOf(join(folder, prompts))];
  if (files.length !== captions.length)
    throw new ConfigError(
      `"${join(folder, videos)}" has ${files.length} lines and "${prompts}" beside it has ${captions.length}; ` +
        "line by line they must belong together",
    );
  return files.map((file, index) => ({
    place: `${videos} and ${prompts}, line ${index + 1}`,
    file,
    caption: captions[index],
  }));
}

/** Without the empty lines at the end, since empty lines elsewhere hold a place. */
async function linesOf(file: string): Promise<string[]> {
  return (await readText(file)).trimEnd().split(/\r?\n/);
}

async function captionFiles(folder: string): Promise<(Row | string)[]> {
  const rows: (Row | string)[] = [];
  for (const file of await videosIn(folder)) {
    const place = relative(folder, file).split(sep).join("/");
    const beside = `${file.slice(0, -extname(file).length)}.txt`;
    const found = await firstFile([beside, labelOf(folder, beside)]);
    if (found === undefined)
      rows.push(`${place}: it has no caption; write one to the first line of "${relative(folder, beside)}"`);
    else {
      const caption = (await readText(found)).split(/\r?\n/)[0];
      rows.push({ place: `${relative(folder, found)}, line 1`, file: place, caption });
    }
  }
  return rows;
}

/** Hidden files are left out: a video that is being written is one. */
async function videosIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  const found = await Promise.all(
    entries
      .filter(({ name }) => !name.startsWith("."))
      .map(async (entry) => {
        const path = join(folder, entry.name);
        if (entry.isDirectory()) return videosIn(path);
        return VIDEOS.test(entry.name) ? [path] : [];
      }),
  );
  return found.flat().sort();
}

/** The last part of the path below `folder` that is called `videos` becomes `labels`. */
function labelOf(folder: string, file: string): string {
  const parts = relative(folder, file).split(sep);
  const at = parts.lastIndexOf("videos");
  return join(folder, ...parts.map((part, index) => (index === at ? "labels" : part)));
}

async function firstFile(candidates: readonly string[]): Promise<string | undefined> {
  for (const file of candidates) {
    const found = await stat(file).catch(() => null);
    if (found?.isFile()) return file;
  }
  return undefined;
}
