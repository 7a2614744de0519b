/** @file What `calibrate` has measured of a model as a file: ratios of magnitudes, and TeaCache's polynomial. */
import { readFile, writeFile } from "node:fs/promises";
import { ConfigError } from "../../errors.ts";
import { fileError } from "../../weights/file.ts";
import { parseJson } from "../../weights/json.ts";

/** Where the measurements of a checkpoint lie unless said otherwise, in its folder. */
export const CALIBRATION_FILE = "magcache.json";

/** What was measured of a model, and the run that it was measured on. */
export type Calibration = {
  /** Of magnitudes, for MagCache: one for every step; the first is 1. */
  readonly ratios: readonly number[];
  /** TeaCache's polynomial, highest power first. */
  readonly coefficients?: readonly number[];
  readonly recipe: Readonly<Record<string, unknown>>;
};

/** Writes measurements for `readRatios` and `readCoefficients`, as JSON. @throws ConfigError where `file` cannot be written */
export async function writeRatios(file: string, measured: Calibration): Promise<void> {
  const text = JSON.stringify({ kind: "cogvideox.magcache.1", ...measured }, null, 2);
  await writeFile(file, `${text}\n`).catch((cause) => {
    throw new ConfigError(fileError("write the measurements", file, cause).message, { cause });
  });
}

/** Ratios from a file of `writeRatios`. @throws ConfigError for a file that cannot be read or holds no ratios */
export async function readRatios(file: string): Promise<readonly number[]> {
  const { ratios } = await readMeasured(file);
  if (isNumbers(ratios)) return ratios;
  throw new ConfigError(`${file} holds no ratios of magnitudes; measure them with cogvideox calibrate`);
}

/** TeaCache's polynomial from a file of `writeRatios`; null where the file has none. @throws ConfigError for a file that cannot be read */
export async function readCoefficients(file: string): Promise<readonly number[] | null> {
  const { coefficients } = await readMeasured(file);
  return isNumbers(coefficients) && coefficients.length > 0 ? coefficients : null;
}

/** Whatever stands in a file under the names that are looked for. */
async function readMeasured(
  file: string,
): Promise<{ readonly ratios?: unknown; readonly coefficients?: unknown }> {
  const bytes = await readFile(file).catch((cause) => {
    throw new ConfigError(fileError("read the measurements", file, cause).message, { cause });
  });
  const parsed = parseJson(bytes);
  return "problem" in parsed ? {} : (parsed.value ?? {});
}

function isNumbers(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((number) => typeof number === "number");
}
