/** @file Reads one of a checkpoint's JSON files. */
import { readFile } from "node:fs/promises";
import { ConfigError } from "../errors.ts";
import { fileError } from "./file.ts";
import { parseJson } from "./json.ts";

/** What a JSON file holds. @throws ConfigError naming the file, where it is missing, unreadable or no strict JSON */
export async function readJson(file: string): Promise<unknown> {
  const bytes = await readFile(file).catch((cause) => {
    const { message } = fileError("read a configuration", file, cause);
    throw new ConfigError(`${message}; is the checkpoint complete?`, { cause });
  });
  const parsed = parseJson(bytes);
  if ("problem" in parsed) throw new ConfigError(`${file} ${parsed.problem}; fetch or write the file again`);
  return parsed.value;
}
