/** @file Tests of taking clips from real video files: rates, sizes, short and broken ones. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { readTimestamps } from "../../media/read.ts";
import { createVideoWriter } from "../../media/write.ts";
import { inspectClip, planClip, readClip } from "./clip.ts";
import { cropFrame, planCrop } from "./crop.ts";

const folder = mkdtempSync(join(tmpdir(), "clips-"));
afterAll(() => rmSync(folder, { recursive: true }));
const hasFfmpeg = spawnSync("ffmpeg", ["-version"]).status === 0;

const GREY_STEP = 5;

/** A video whose i-th frame is evenly grey, `GREY_STEP * i`; lossless as .mkv. */
async function video(name: string, fps: number, frames: number, [width, height] = [32, 24]) {
  const file = join(folder, name);
  mkdirSync(dirname(file), { recursive: true });
  const writer = await createVideoWriter(file, { width, height, fps, quality: 95 });
  for (let i = 0; i < frames; i++)
    await writer.write(new Uint8Array(width * height * 3).fill((GREY_STEP * i) % 256));
  await writer.finish();
  return { file };
}

/** Numbers of the source frames that a clip shows, by their grey. */
function shown({ rgb, frames }: { rgb: Uint8Array; frames: number }): number[] {
  const frameBytes = rgb.length / frames;
  return Array.from({ length: frames }, (_, k) => Math.round(rgb[k * frameBytes] / GREY_STEP));
}

const request = { frames: 9, fps: 8, width: 32, height: 24 };

describe("a clip", () => {
  test.each([
    ["film.mkv", 23.976, [0, 3, 6, 9, 12, 15, 18, 21, 24]],
    ["pal.mp4", 25, [0, 3, 6, 9, 12, 16, 19, 22, 25]],
    ["ntsc.mp4", 29.97, [0, 4, 7, 11, 15, 19, 22, 26, 30]],
    ["slow.webm", 8, [0, 1, 2, 3, 4, 5, 6, 7, 8]],
  ])("of %s, at %d frames per second, shows the frames of its times", async (name, fps, expected) => {
    const source = await video(name, fps, Math.ceil(fps * 1.2));
    const clip = await readClip(source, await planClip(source, request));
    expect([...clip.plan.sampling.indices]).toEqual(expected);
    expect(shown(clip)).toEqual(expected);
  });

  test("of 60 frames per second shows every seventh or eighth", async () => {
    const source = await video("fast.mkv", 60, 50);
    const clip = await readClip(source, await planClip(source, { ...request, frames: 5 }));
    expect(shown(clip)).toEqual([0, 7, 15, 22, 30]);
  });

  test.skipIf(!hasFfmpeg)("of a changing rate keeps its pace, with and without an edit list", async () => {
    const parts = [await video("a.mp4", 30, 15), await video("b.mp4", 10, 10), await video("c.mp4", 60, 30)];
    const list = join(folder, "list.txt");
    writeFileSync(list, parts.map(({ file }) => `file '${file}'`).join("\n"));
    for (const name of ["changing.mkv", "changing.mp4"]) {
      const file = join(folder, name);
      const args = ["-v", "error", "-f", "concat", "-safe", "0", "-i", list, "-c", "copy", file];
      expect(spawnSync("ffmpeg", args).status).toBe(0);
      const times = await readTimestamps(file);
      expect(times).toHaveLength(55);
      const clip = await readClip({ file }, await planClip({ file }, request));
      const { indices } = clip.plan.sampling;
      expect([...indices.slice(0, 4)]).toEqual([0, 4, 7, 11]);
      for (const [k, index] of indices.entries()) {
        const distances = Array.from(times, (time) => Math.abs(time - k / 8));
        expect(distances[index]).toBeLessThanOrEqual(Math.min(...distances) + 1e-6);
      }
      const greys = [...Array(15).keys(), ...Array(10).keys(), ...Array(30).keys()];
      expect(shown(clip)).toEqual([...indices].map((index) => greys[index]));
    }
  });

  test.skipIf(!hasFfmpeg)(
    "is planned anew where a video shows fewer frames than it has packets",
    async () => {
      const [whole, file] = [join(folder, "groups.mp4"), join(folder, "headless.mkv")];
      const picture = [
        "-f",
        "lavfi",
        "-i",
        "testsrc=size=64x48:rate=8:duration=4",
        "-c:v",
        "libx264",
        "-g",
        "10",
      ];
      // Without its key frame nothing of the first group of pictures can be shown.
      const headless = ["-i", whole, "-c", "copy", "-bsf:v", "noise=drop=lt(n\\,3)", file];
      for (const args of [[...picture, whole], headless])
        expect(spawnSync("ffmpeg", ["-v", "error", ...args]).status).toBe(0);
      const plan = await planClip({ file }, { ...request, frames: 25 });
      expect(plan.sampling.indices).toHaveLength(25);
      const clip = await readClip({ file }, plan);
      expect(clip.plan.timestamps).toHaveLength(22);
      expect(clip.frames).toBe(17);
    },
  );

  test("of a video that is too short has fewer frames, or padding and a mask", async () => {
    const source = await video("short.mkv", 8, 6);
    const clip = await readClip(source, await planClip(source, { ...request, lengthStep: 4 }));
    expect(shown(clip)).toEqual([0, 1, 2, 3, 4]);
    expect([...clip.valid]).toEqual([1, 1, 1, 1, 1]);
    const padded = await readClip(source, await planClip(source, { ...request, pad: true }));
    expect(shown(padded)).toEqual([0, 1, 2, 3, 4, 5, 5, 5, 5]);
    expect([...padded.valid]).toEqual([1, 1, 1, 1, 1, 1, 0, 0, 0]);
  });

  test("of a single frame is an image", async () => {
    const source = await video("image.mkv", 8, 1);
    expect(await inspectClip(source, 8)).toEqual({ frames: 1, width: 32, height: 24 });
    const clip = await readClip(source, await planClip(source, request));
    expect([clip.frames, clip.rgb.length]).toEqual([1, 32 * 24 * 3]);
  });

  test("that is damaged or no video gives a sentence", async () => {
    const { file } = await video("cut.mp4", 8, 20, [128, 96]);
    const bytes = readFileSync(file);
    const plan = await planClip({ file }, { ...request, frames: 17 });
    writeFileSync(file, bytes.subarray(0, bytes.length - 900));
    await expect(readClip({ file }, plan)).rejects.toThrow(/cannot read ".*cut.mp4"/);
    writeFileSync(file, "no video");
    await expect(planClip({ file }, request)).rejects.toThrow(/it is not a video/);
  });
});

describe("a crop", () => {
  test("keeps the aspect ratio and cuts both ends alike", () => {
    expect(planCrop({ width: 1920, height: 1080 }, { width: 720, height: 480 }, "centre")).toEqual({
      width: 720,
      height: 480,
      resized: { width: 853, height: 480 },
      left: 66,
      top: 0,
    });
  });

  test("at random stays inside and depends on seed, epoch and index only", () => {
    const plan = (index: number) =>
      planCrop({ width: 40, height: 90 }, { width: 20, height: 20 }, "random", { seed: 1, epoch: 0, index });
    const tops = Array.from({ length: 200 }, (_, index) => plan(index).top);
    expect([Math.min(...tops), Math.max(...tops)]).toEqual([0, 25]);
    expect(plan(3)).toEqual(plan(3));
    expect(() => planCrop({ width: 4, height: 4 }, { width: 2, height: 2 }, "random")).toThrow(/seed, epoch/);
  });

  test("takes the planned part", () => {
    // Columns of 0, 10, 20, 30.
    const rgb = Uint8Array.from({ length: 4 * 2 * 3 }, (_, i) => (Math.floor(i / 3) % 4) * 10);
    const plan = { width: 2, height: 1, resized: { width: 4, height: 2 }, left: 1, top: 1 };
    expect([...cropFrame({ rgb, width: 4, height: 2 }, plan)]).toEqual([10, 10, 10, 20, 20, 20]);
  });
});
