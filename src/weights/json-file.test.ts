/** @file Tests of reading a checkpoint's JSON files. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryFolder } from "../../test/helpers/command-line.ts";
import { readJson } from "./json-file.ts";

/** The name of a new file that holds `text`. */
function fileOf(text: string): string {
  const file = join(temporaryFolder(), "config.json");
  writeFileSync(file, text);
  return file;
}

test("gives what a file holds", async () => {
  expect(await readJson(fileOf('{"a": [1, null]}'))).toEqual({ a: [1, null] });
});

test("says what is wrong with a file, and never in the system's words", async () => {
  const folder = temporaryFolder();
  const missing = join(folder, "config.json");
  await expect(readJson(missing)).rejects.toThrow(
    `cannot read a configuration: ${missing} does not exist; check the path; is the checkpoint complete?`,
  );
  await expect(readJson(folder)).rejects.toThrow(`${folder} is a folder, not a file`);
  await expect(readJson(fileOf('{"a": '))).rejects.toThrow(
    /config\.json is not JSON .* write the file again/,
  );
  await expect(readJson(fileOf('{"a": 1, "a": 2}'))).rejects.toThrow(/the key "a" more than once/);
});
