/** @file `cogvideox data`: clips that are made can be read, and wrong calls are refused in words. */
import { readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cogvideox } from "../../../test/helpers/command-line.ts";
import { probeVideo, readVideo } from "../../media/read.ts";
import { type TensorData, writeSafetensors } from "../../weights/write.ts";

function zeros(shape: readonly number[]): TensorData {
  return { dtype: "F32", shape, data: new Float32Array(shape.reduce((size, side) => size * side, 1)) };
}

describe("data", () => {
  let parent: string;
  let folder: string;
  beforeAll(async () => {
    parent = await mkdtemp(join(tmpdir(), "data-"));
    folder = join(parent, "clips");
  });
  afterAll(() => rm(parent, { recursive: true }));

  test("make-shapes writes clips that read tells", async () => {
    const made = await cogvideox([
      "data",
      "make-shapes",
      "-o",
      folder,
      "--clips",
      "3",
      "--seed",
      "1",
      "--frames",
      "9",
    ]);
    expect(made).toMatchObject({ status: 0, stdout: `${folder}\n` });
    expect(made.stderr).toContain("3 clips written");
    const clips = ["000000", "000001"].map((name) => join(folder, "videos", `${name}.mp4`));
    const read = await cogvideox(["data", "read", ...clips]);
    expect(read.stdout.split("\n")[0]).toBe(
      `${clips[0]}: small cyan cross, still | black gradient background | camera: still`,
    );
    const { stdout } = await cogvideox(["data", "read", clips[1], "--json"]);
    expect(JSON.parse(stdout)).toMatchObject({ event: "reading", file: clips[1], camera: "still" });
  });

  test("edges writes a video of the same size, length and rate, which is black but for lines", async () => {
    const [clip, edges] = [join(folder, "videos", "000000.mp4"), join(parent, "edges.mp4")];
    const drawn = await cogvideox(["data", "edges", clip, "-o", edges]);
    expect(drawn).toMatchObject({ status: 0, stdout: `${edges}\n` });
    const { width, height, fps, frames } = await probeVideo(edges);
    expect({ width, height, fps, frames }).toEqual({ width: 64, height: 64, fps: 8, frames: 9 });
    const { rgb } = (await readVideo(edges).next()).value!;
    const share = (wanted: (value: number) => boolean) => rgb.filter(wanted).length / rgb.length;
    expect(share((value) => value > 100)).toBeGreaterThan(0.01);
    expect(share((value) => value < 20)).toBeGreaterThan(0.7);
  });

  test("frames of a safetensors file are read, and have the edges, that the same frames of a video have", async () => {
    const clip = join(folder, "videos", "000000.mp4");
    const frames: number[] = [];
    for await (const { rgb } of readVideo(clip)) for (const byte of rgb) frames.push(byte / 255);
    const exact = join(parent, "exact.safetensors");
    const tensor = { dtype: "F32", shape: [9, 64, 64, 3], data: Float32Array.from(frames) } as const;
    await writeSafetensors(exact, { frames: tensor });
    const [ofVideo, ofFrames] = [
      await cogvideox(["data", "read", clip]),
      await cogvideox(["data", "read", exact]),
    ];
    expect(ofFrames).toMatchObject({ status: 0, stdout: ofVideo.stdout });
    const drawn = [clip, exact].map((from, i) => [from, join(parent, `drawn-${i}.mp4`)]);
    for (const [from, to] of drawn)
      expect(await cogvideox(["data", "edges", from, "-o", to])).toMatchObject({ status: 0 });
    const [one, other] = drawn.map(([, to]) => readFileSync(to));
    expect(other.equals(one)).toBe(true);
  });

  test.each<[string, TensorData, RegExp]>([
    ["latents", zeros([1, 8, 8, 3]), /holds no tensor named frames, but latents/],
    ["frames", zeros([8, 8, 3]), /must be \[T, H, W, 3\], got \[8, 8, 3\]/],
    ["frames", zeros([1, 0, 8, 3]), /must be \[T, H, W, 3\], got \[1, 0, 8, 3\]/],
    ["frames", { ...zeros([1, 1, 1, 3]), data: Float32Array.of(0, 2, 0) }, /must lie in 0 to 1, got 2/],
  ])("a safetensors file with %s that are no pictures is refused", async (name, tensor, says) => {
    const file = join(parent, "odd.safetensors");
    await writeSafetensors(file, { [name]: tensor });
    for (const call of [
      ["read", file],
      ["edges", file, "-o", join(parent, "odd.mp4")],
    ]) {
      const { status, stderr } = await cogvideox(["data", ...call]);
      expect(stderr).toMatch(says);
      expect(status).not.toBe(0);
    }
    expect(readdirSync(parent)).not.toContain("odd.mp4");
  });

  test.each([
    [["data", "edges"], "edges takes one FILE, got 0"],
    [["data", "edges", "a.mp4"], "--output is missing: the video of edges"],
    [["data", "edges", "a.mp4", "-o", "b.mp4", "--seed", "1"], "--seed belongs to make-shapes"],
    [["data", "make-cats"], 'not "make-cats"'],
    [["data", "make-shapes", "--clips", "3"], "--output is missing"],
    [["data", "make-shapes", "-o", "x"], "--clips is missing"],
    [["data", "read"], "FILE is missing"],
    [["data", "read", "a.mp4", "--seed", "3"], "--seed belongs to make-shapes"],
  ])("%j is refused", async (args, message) => {
    const { status, stderr } = await cogvideox(args);
    expect(status).toBe(2);
    expect(stderr).toContain(message);
  });
});
