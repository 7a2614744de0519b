/** @file Tests of what --like takes from clips: of other machines, and of more pictures than are given again. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { createVideoWriter } from "../media/write.ts";
import { recipeLora, recipeModel } from "../pipeline/model-name.ts";
import { nanoFolder, nanoSiblings } from "../pipeline/nano.ts";
import { generateTable } from "./generate-table.ts";
import { likeFile } from "./like-option.ts";
import { parseOptions } from "./options.ts";

const folder = mkdtempSync(join(tmpdir(), "like-"));
afterAll(() => rmSync(folder, { recursive: true }));

async function like(recipe: object, ...args: string[]) {
  const clip = join(folder, "clip.gif");
  const whole = { software: "cogvideox", prompt: "a red circle", steps: 4, ...recipe };
  const writer = await createVideoWriter(clip, { width: 16, height: 16, fps: 8, recipe: whole });
  await writer.write(new Uint8Array(16 * 16 * 3));
  await writer.finish();
  const said: string[] = [];
  const { values: given } = parseOptions(args, generateTable, []);
  const { values, prompts } = await likeFile(clip, given, [], (line) => said.push(line));
  expect(prompts).toEqual(["a red circle"]);
  expect(values.steps).toBe(4);
  return { values, said, clip };
}

async function modelLike(model: string): Promise<string | undefined> {
  return (await like({ model })).values.model;
}

test("what comes along is called by its name in recipes, and found wherever the package lies", async () => {
  expect([nanoFolder, nanoSiblings.inpaint].map(recipeModel)).toEqual(["nano", "nano-inpaint"]);
  expect(await modelLike("nano")).toBe(nanoFolder);
  expect(await modelLike("nano-inpaint")).toBe(nanoSiblings.inpaint);
});

test("a folder of a package that lay elsewhere, as recipes had before, is this package's own", async () => {
  expect(await modelLike("/home/somebody/node_modules/cogvideox/models/nano")).toBe(nanoFolder);
  expect(await modelLike(String.raw`C:\code\models\nano-i2v`)).toBe(nanoSiblings.image);
});

test("a model of the hub is called by its name and its commit, and found so where the cache is another one", async () => {
  const commit = "0123456789abcdef0123456789abcdef01234567";
  const cached = `/home/somebody/hub/models--THUDM--CogVideoX-2b/snapshots/${commit}`;
  const id = `THUDM/CogVideoX-2b@${commit}`;
  expect(recipeModel(cached)).toBe(id);
  expect(await modelLike(id)).toBe(id);
  expect(await modelLike(cached)).toBe(id);
});

test("any other model stays as it is named, and so does a folder that is there", async () => {
  const own = "/home/somebody/models/CogVideoX-2b";
  expect(recipeModel(own)).toBe(own);
  expect(await modelLike(own)).toBe(own);
  // A folder of the user's own that is only called like one that comes along.
  expect(recipeModel("nano-mine")).toBe(join(process.cwd(), "nano-mine"));
  expect(await modelLike(nanoFolder)).toBe(nanoFolder);
});

test("the LoRA that comes along is found too", async () => {
  const night = join(nanoFolder, "../nano-night");
  expect(recipeLora(night)).toBe("nano-night");
  const loras = [
    { file: "nano-night", scale: 0.5 },
    { file: "/home/somebody/models/nano-night", scale: 1 },
    { file: "mine.safetensors", scale: 2 },
  ];
  const { values } = await like({ loras });
  expect(values.lora).toEqual([`${night}:0.5`, `${night}:1`, "mine.safetensors:2"]);
});

test("a clip between two pictures says which of them is left to the prompt", async () => {
  const recipe = { mode: "inpainting", pictures: ["start image", "end image"] };
  const { said, clip, values } = await like(recipe, "--start-image", "first.png");
  const line = `${clip} was made with --end-image too, which is not inside; without it the prompt decides there`;
  expect(said).toEqual([line]);
  expect(values["end-image"]).toBeUndefined();
  const both = await like(recipe, "--start-image", "first.png", "--end-image", "last.png");
  expect(both.said).toEqual([]);
  expect((await like({ ...recipe, pictures: ["end image"] }, "--end-image", "last.png")).said).toEqual([]);
});
