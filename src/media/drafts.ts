/** @file Names of videos that are not complete yet: hidden files beside the one they will be, with their process's number. */
import { readdir } from "node:fs/promises";
import path from "node:path";

let drafts = 0;

/** A name for a video until it is complete, which nothing else has; `extension` as ".mp4", or "" for a folder. */
export function draftOf(target: string, extension: string): string {
  const { base, dir } = path.parse(target);
  return path.join(dir, `.${base}.partial-${process.pid}-${++drafts}${extension}`);
}

/** The drafts of a video that lie beside it, each with the number of the process that has made it. */
export async function draftsBeside(
  target: string,
): Promise<{ readonly path: string; readonly pid: number }[]> {
  const { base, dir } = path.parse(path.resolve(target));
  const prefix = `.${base}.partial-`;
  const names = await readdir(dir).catch(() => []);
  return names.flatMap((name) => {
    const found = name.startsWith(prefix) ? /^(\d+)-\d+/.exec(name.slice(prefix.length)) : null;
    return found ? [{ path: path.join(dir, name), pid: Number(found[1]) }] : [];
  });
}
