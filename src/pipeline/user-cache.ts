/** @file Small things that can be computed again, kept as JSON in the user's cache. */
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import type { z } from "zod";
import { parseJson } from "../weights/json.ts";

/** What is kept under a name, or null where nothing is, or not what the schema asks for. */
export async function readKept<T>(name: string, schema: z.ZodType<T>): Promise<T | null> {
  const bytes = await readFile(join(cacheFolder(), name)).catch(() => null);
  const parsed = bytes ? parseJson(bytes) : { problem: "" };
  const read = schema.safeParse("problem" in parsed ? null : parsed.value);
  return read.success ? read.data : null;
}

/** Keeps a value under a name; where that fails, no draft stays behind. */
export async function keep(name: string, value: unknown): Promise<void> {
  await mkdir(cacheFolder(), { recursive: true });
  const file = join(cacheFolder(), name);
  const draft = `${file}.${process.pid}`;
  try {
    await writeFile(draft, JSON.stringify(value));
    await rename(draft, file);
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
}

function cacheFolder(): string {
  const { COGVIDEOX_CACHE, XDG_CACHE_HOME } = process.env;
  return COGVIDEOX_CACHE ?? join(XDG_CACHE_HOME ?? join(homedir(), ".cache"), "cogvideox");
}
