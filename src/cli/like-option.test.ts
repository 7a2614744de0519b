/** @file Tests of what --like takes from clips of other machines. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { createVideoWriter } from "../media/write.ts";
import { generateTable } from "./generate-table.ts";
import { likeFile } from "./like-option.ts";
import { parseOptions } from "./options.ts";

const folder = mkdtempSync(join(tmpdir(), "like-"));
afterAll(() => rmSync(folder, { recursive: true }));

async function modelLike(model: string): Promise<string | undefined> {
  const clip = join(folder, "clip.gif");
  const recipe = { software: "cogvideox", model, prompt: "a red circle", steps: 4 };
  const writer = await createVideoWriter(clip, { width: 16, height: 16, fps: 8, recipe });
  await writer.write(new Uint8Array(16 * 16 * 3));
  await writer.finish();
  const { values, prompts } = await likeFile(clip, parseOptions([], generateTable, []).values, []);
  expect(prompts).toEqual(["a red circle"]);
  expect(values.steps).toBe(4);
  return values.model;
}

test("nano of a package that lay elsewhere is this package's own", async () => {
  expect(await modelLike("/home/somebody/node_modules/cogvideox/models/nano")).toBeUndefined();
  expect(await modelLike(String.raw`C:\code\models\nano-i2v`)).toBeUndefined();
});

test("any other model stays as it is named, and so does a folder that is there", async () => {
  expect(await modelLike("/home/somebody/models/CogVideoX-2b")).toBe("/home/somebody/models/CogVideoX-2b");
  const here = join(import.meta.dirname, "../../models/nano");
  expect(await modelLike(here)).toBe(here);
});
