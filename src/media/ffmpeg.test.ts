/** @file Test of the sentence given where the optional dependency is missing. */
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";

// A copy of the loader outside the project, where node-av cannot be resolved.
const folder = mkdtempSync(path.join(tmpdir(), "media-missing-"));
afterAll(() => rmSync(folder, { recursive: true }));

test("says what to install where node-av is missing", () => {
  mkdirSync(path.join(folder, "media"));
  for (const file of ["errors.ts", "media/ffmpeg.ts"])
    copyFileSync(path.resolve(import.meta.dirname, "..", file), path.join(folder, file));
  const script = path.join(folder, "load.mts");
  writeFileSync(script, 'import { loadFfmpeg } from "./media/ffmpeg.ts";\nawait loadFfmpeg();\n');
  const tsx = import.meta.resolve("tsx");
  const { stderr, status } = spawnSync(process.execPath, ["--import", tsx, script], { encoding: "utf8" });
  expect(status).toBe(1);
  expect(stderr).toMatch(/ConfigError: .*needs the optional package "node-av".*npm install node-av/);
});
