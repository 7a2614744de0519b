/** @file Files of magnitudes: what is written is read, and what holds none is refused. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryFolder } from "../../../test/helpers/command-line.ts";
import { ConfigError } from "../../errors.ts";
import { readCoefficients, readRatios, writeRatios } from "./calibration-file.ts";

test("ratios come back as they were written", async () => {
  const file = join(temporaryFolder(), "magcache.json");
  await writeRatios(file, { ratios: [1, 0.97, 1.02], recipe: { steps: 3 } });
  expect(await readRatios(file)).toEqual([1, 0.97, 1.02]);
});

test("so does a polynomial, and a file may have none", async () => {
  const file = join(temporaryFolder(), "magcache.json");
  await writeRatios(file, { ratios: [1], coefficients: [-3, 0.5], recipe: {} });
  expect(await readCoefficients(file)).toEqual([-3, 0.5]);
  for (const content of ['{"ratios": [1]}', '{"coefficients": []}', '{"coefficients": ["1"]}', "{"]) {
    writeFileSync(file, content);
    expect(await readCoefficients(file)).toBeNull();
  }
});

test.each([
  "",
  "{",
  "null",
  "[]",
  "3",
  '{"ratios": 1}',
  '{"ratios": ["1"]}',
  '{"ratios": [1], "ratios": [2]}',
  "\xff",
])("%j holds none", async (content) => {
  const file = join(temporaryFolder(), "magcache.json");
  writeFileSync(file, Buffer.from(content, "latin1"));
  const error = await readRatios(file).catch((thrown) => thrown);
  expect(error).toBeInstanceOf(ConfigError);
  expect(error.message).toBe(`${file} holds no ratios of magnitudes; measure them with cogvideox calibrate`);
});

test("a file that is missing, and a folder that is, are named", async () => {
  const file = join(temporaryFolder(), "nowhere", "magcache.json");
  await expect(readRatios(file)).rejects.toThrow(`cannot read the measurements: ${file} does not exist`);
  await expect(writeRatios(file, { ratios: [1], recipe: {} })).rejects.toThrow(
    `cannot write the measurements: ${file} does not exist`,
  );
});
