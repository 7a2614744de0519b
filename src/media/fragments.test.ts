/** @file Fragmented MP4 can be watched while it is written, and is as complete as any other in the end. */
import { copyFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { temporaryFolder } from "../../test/helpers/command-line.ts";
import { hasFfprobe, probe } from "../../test/helpers/ffprobe.ts";
import { ConfigError } from "../errors.ts";
import { AI_GENERATED, readDigitalSourceType } from "./provenance.ts";
import { readVideo } from "./read.ts";
import { readRecipe } from "./recipe.ts";
import { createVideoWriter, type VideoWriter } from "./write.ts";

const size = { width: 64, height: 48 };
const recipe = { prompt: "A red circle." };
const options = { ...size, fps: 8, fragmented: true, recipe, digitalSourceType: AI_GENERATED };

/** Grey frames, each ten steps brighter than the one before. */
async function writeFrames(writer: VideoWriter, from: number, to: number): Promise<void> {
  for (let i = from; i < to; i++) await writer.write(new Uint8Array(64 * 48 * 3).fill(20 + 10 * i));
}

async function brightness(file: string): Promise<number[]> {
  const found: number[] = [];
  for await (const { rgb } of readVideo(file)) found.push(Math.round(rgb[0] / 10) - 2);
  return found;
}

/** Names of the boxes at the top level of an MP4. */
function boxesOf(file: string): string[] {
  const bytes = readFileSync(file);
  const names: string[] = [];
  for (let at = 0; at < bytes.length; at += bytes.readUInt32BE(at))
    names.push(bytes.toString("latin1", at + 4, at + 8));
  return names;
}

test("what is shown plays before the file is finished, with recipe and mark", async () => {
  const folder = temporaryFolder();
  const file = join(folder, "clip.mp4");
  const copy = join(folder, "copy.mp4");
  const writer = await createVideoWriter(file, options);
  for (const [from, to] of [
    [0, 9],
    [9, 17],
  ]) {
    await writeFrames(writer, from, to);
    await writer.show();
    copyFileSync(file, copy); // what a player has loaded so far
    expect(await brightness(copy)).toEqual(Array.from({ length: to }, (_, i) => i));
    expect(await readRecipe(copy)).toEqual(recipe);
    expect(await readDigitalSourceType(copy)).toBe(AI_GENERATED);
    expect(boxesOf(copy)).toEqual([
      "ftyp",
      "moov",
      "uuid",
      ...Array(to === 9 ? 1 : 2)
        .fill(["moof", "mdat"])
        .flat(),
    ]);
  }
  await writer.finish();
  expect(await brightness(file)).toHaveLength(17);
  expect(readdirSync(folder).sort()).toEqual(["clip.mp4", "copy.mp4"]);
});

test("an older file stays until there are frames in its place", async () => {
  const folder = temporaryFolder();
  const file = join(folder, "clip.mp4");
  writeFileSync(file, "older");
  const writer = await createVideoWriter(file, options);
  await writeFrames(writer, 0, 3);
  expect(readFileSync(file, "utf8")).toBe("older");
  await writer.show();
  expect(await brightness(file)).toEqual([0, 1, 2]);
  await writer.finish();
  expect(await brightness(file)).toEqual([0, 1, 2]);
});

describe("one that is given up", () => {
  test("before its first frames leaves the older file", async () => {
    const folder = temporaryFolder();
    const file = join(folder, "clip.mp4");
    writeFileSync(file, "older");
    const writer = await createVideoWriter(file, options);
    await writer.abort();
    expect(readdirSync(folder)).toEqual(["clip.mp4"]);
    expect(readFileSync(file, "utf8")).toBe("older");
  });

  test("after them is removed", async () => {
    const file = join(temporaryFolder(), "clip.mp4");
    const writer = await createVideoWriter(file, options);
    await writeFrames(writer, 0, 2);
    await writer.show();
    expect(existsSync(file)).toBe(true);
    await writer.abort();
    expect(existsSync(file)).toBe(false);
  });
});

test("a file that was never shown has all its frames at the end", async () => {
  const file = join(temporaryFolder(), "clip.mp4");
  const writer = await createVideoWriter(file, options);
  await writeFrames(writer, 0, 5);
  await writer.finish();
  expect(await brightness(file)).toEqual([0, 1, 2, 3, 4]);
});

test("other formats are refused", async () => {
  const file = join(temporaryFolder(), "clip.webm");
  const refused = createVideoWriter(file, options);
  await expect(refused).rejects.toThrow(ConfigError);
  await expect(refused).rejects.toThrow("in fragments as MP4 only, got .webm");
});

test.skipIf(!hasFfprobe())(
  "ffprobe counts the frames of a finished one, and its colours are tagged",
  async () => {
    const file = join(temporaryFolder(), "clip.mp4");
    const writer = await createVideoWriter(file, options);
    await writeFrames(writer, 0, 9);
    await writer.show();
    await writeFrames(writer, 9, 17);
    await writer.finish();
    expect(probe(file)).toMatchObject([
      { codec_name: "h264", nb_read_frames: "17", avg_frame_rate: "8/1", color_space: "bt709" },
    ]);
  },
);
