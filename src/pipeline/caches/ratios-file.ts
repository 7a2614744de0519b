/** @file The ratios of magnitudes of a model as a file. */
import { readFile, writeFile } from "node:fs/promises";
import { ConfigError } from "../../errors.ts";
import { parseJson } from "../../weights/json.ts";

/** Where the ratios of a checkpoint lie unless said otherwise, in its folder. */
export const RATIOS_FILE = "magcache.json";

/** Ratios with the run they were measured on. */
export type MeasuredRatios = {
  /** One for every step; the first is 1. */
  readonly ratios: readonly number[];
  readonly recipe: Readonly<Record<string, unknown>>;
};

/** Writes ratios for `readRatios`. */
export async function writeRatios(file: string, { ratios, recipe }: MeasuredRatios): Promise<void> {
  const text = JSON.stringify({ kind: "cogvideox.magcache.1", ratios, recipe }, null, 2);
  await writeFile(file, `${text}\n`).catch((cause) => {
    throw new ConfigError(`cannot write ${file}: ${(cause as Error).message}`, { cause });
  });
}

/** Ratios from a file of `writeRatios`. @throws ConfigError for a file that cannot be read or holds no ratios */
export async function readRatios(file: string): Promise<readonly number[]> {
  const bytes = await readFile(file).catch((cause) => {
    throw new ConfigError(`cannot read ${file}: ${(cause as Error).message}`, { cause });
  });
  const parsed = parseJson(bytes);
  const ratios = "problem" in parsed ? undefined : (parsed.value as { ratios?: unknown } | null)?.ratios;
  if (!Array.isArray(ratios) || !ratios.every((ratio) => typeof ratio === "number"))
    throw new ConfigError(`${file} holds no ratios of magnitudes; measure them with cogvideox calibrate`);
  return ratios;
}
