/** @file Tests of data sets in folders: which frames are taken, and videos that are too short. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ConfigError } from "../../errors.ts";
import { createVideoWriter } from "../../media/write.ts";
import { folderClips } from "./folder-clips.ts";
import { parseRecipe } from "./parse-recipe.ts";

const folder = mkdtempSync(join(tmpdir(), "cogvideox-folder-"));
const size = { width: 32, height: 16 };
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Grey levels rise by 8 from frame to frame. */
async function video(name: string, frames: number) {
  const writer = await createVideoWriter(join(folder, name), { ...size, fps: 8, quality: 95 });
  for (let i = 0; i < frames; i++) await writer.write(new Uint8Array(3 * 32 * 16).fill(8 * i));
  await writer.finish();
  writeFileSync(join(folder, name.replace("mkv", "txt")), `clip ${name}`);
}

beforeAll(async () => {
  for (const [i, frames] of [5, 9, 24, 24, 24].entries()) await video(`${i}.mkv`, frames);
});

const open = (more: string, seed = 1) => {
  const data = `data: {kind: folder, path: ${folder}, size: 32x16, frames: 9, fps: 8, ${more}}`;
  const recipe = parseRecipe(`${data}\ntransformer: {stages: [{steps: 1}]}`, "a.yaml");
  if (recipe.data.kind !== "folder") throw new Error("a folder was asked for");
  return folderClips(recipe.data, seed);
};

/** Numbers of the frames that a clip shows. */
const shown = (pixels: Float32Array) =>
  Array.from({ length: pixels.length / (3 * 32 * 16) }, (_, k) =>
    Math.round(((pixels[k * 3 * 32 * 16] + 1) * 127.5) / 8),
  );

test("videos that are too short are refused by name, and freeze only where the recipe says so", async () => {
  await expect(open("")).rejects.toThrow(ConfigError);
  await expect(open("")).rejects.toThrow(
    /^1 of the 5 videos in .* have fewer than 9 frames at 8 a second: 0.mkv has 5; take fewer frames/,
  );
  const frozen = await open("short: freeze");
  expect(frozen.caption(0)).toBe("clip 0.mkv");
  expect(shown(await frozen.pixels(0, size))).toEqual([0, 1, 2, 3, 4, 4, 4, 4, 4]);
  expect(shown(await frozen.pixels(2, size))).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
});

test("a random window is one of its own for every video, the same one whenever it is read", async () => {
  const clips = await open("short: freeze, window: random");
  const starts: number[] = [];
  for (const index of [2, 3, 4]) {
    const frames = shown(await clips.pixels(index, size));
    expect(frames).toEqual(frames.map((_, k) => frames[0] + k));
    expect(shown(await clips.firstFrame(index, size))).toEqual([frames[0]]);
    starts.push(frames[0]);
  }
  expect(new Set(starts).size).toBeGreaterThan(1);
  expect(shown(await clips.firstFrame(2, size))).toEqual([starts[0]]);
  expect(shown(await (await open("short: freeze", 1)).firstFrame(2, size))).toEqual([0]);
});

test("a lower rate leaves frames out, and a higher one than the video's shows some twice", async () => {
  const clips = await open("short: freeze");
  expect(shown(await clips.pixels(2, size, 4))).toEqual([0, 2, 4, 6, 8]);
  const doubled = shown(await clips.pixels(2, size, 16));
  expect(doubled).toHaveLength(17);
  expect(doubled.filter((_, k) => k % 2 === 0)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
  const windowed = await open("short: freeze, window: random");
  const [first] = shown(await windowed.firstFrame(3, size));
  expect(shown(await windowed.pixels(3, size, 4))).toEqual([0, 2, 4, 6, 8].map((k) => first + k));
});

test("a data set is known again, and not when a caption changes", async () => {
  const before = await open("short: freeze");
  expect((await open("short: freeze, window: random")).identity).toBe(before.identity);
  writeFileSync(join(folder, "3.txt"), "another caption");
  expect((await open("short: freeze")).identity).not.toBe(before.identity);
});
