/** @file Data set folders: complete, readable, resumable, and never written over something else. */
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { readVideo } from "../../media/read.ts";
import { type ShapesEntry, type WriteShapesOptions, writeShapes } from "./dataset.ts";
import { judge } from "./reader/judge.ts";
import { readClip } from "./reader/read.ts";

const options: WriteShapesOptions = {
  clips: 4,
  seed: 3,
  size: 64,
  frames: 9,
  fps: 8,
  split: "train",
  captions: "both",
};

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "shapes-"));
});
afterEach(() => rm(folder, { recursive: true }));

const entries = async () =>
  (await readFile(join(folder, "metadata.jsonl"), "utf8"))
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as ShapesEntry);

describe("a data set folder", () => {
  test("holds videos that show what their captions were made from", async () => {
    expect(await writeShapes(folder, options)).toEqual({ written: 4, kept: 0 });
    expect((await readdir(folder)).sort()).toEqual(["LICENSE", "metadata.jsonl", "shapes.json", "videos"]);
    const lines = await entries();
    expect(lines).toHaveLength(4);
    for (const { file, scene, caption, long_caption } of lines) {
      expect(caption).toContain(scene.objects[0].colour);
      expect(long_caption?.split(" ").length).toBeGreaterThanOrEqual(20);
      const frames: Uint8Array[] = [];
      for await (const { rgb } of readVideo(join(folder, file))) frames.push(rgb);
      const reading = readClip(Buffer.concat(frames), { width: 64, height: 64, frames: frames.length });
      expect(judge(reading, scene), caption).toMatchObject({ everything: true, size: true });
    }
  });

  test("continues where it was stopped, and grows", async () => {
    const controller = new AbortController();
    const onClip = (done: number) => done === 2 && controller.abort();
    const stopping = writeShapes(folder, { ...options, onClip, signal: controller.signal });
    await expect(stopping).rejects.toThrow("stopped after 2 of 4 clips");
    const { mtimeMs } = await stat(join(folder, "videos/000000.mp4"));
    expect(await readdir(folder)).not.toContain("metadata.jsonl");
    expect(await writeShapes(folder, options)).toEqual({ written: 2, kept: 2 });
    expect((await stat(join(folder, "videos/000000.mp4"))).mtimeMs).toBe(mtimeMs);
    expect(await writeShapes(folder, { ...options, clips: 5 })).toEqual({ written: 1, kept: 4 });
    expect(await entries()).toHaveLength(5);
    await expect(writeShapes(folder, options)).rejects.toThrow("was begun with 5 clips");
  });

  test("is not made over other files or other settings", async () => {
    await writeFile(join(folder, "letter.txt"), "dear");
    await expect(writeShapes(folder, options)).rejects.toThrow("holds files that are no shapes data set");
    await rm(join(folder, "letter.txt"));
    await writeShapes(folder, { ...options, clips: 1 });
    await expect(writeShapes(folder, { ...options, seed: 4 })).rejects.toThrow(
      "was begun with seed 3, not 4",
    );
  });

  test("refuses sizes that cannot be", async () => {
    await expect(writeShapes(folder, { ...options, size: 63 })).rejects.toThrow("size must be even");
    await expect(writeShapes(folder, { ...options, clips: 0 })).rejects.toThrow(
      "clips must be a whole number",
    );
  });
});
