/** @file `cogvideox data`: clips that are made can be read, and wrong calls are refused in words. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cogvideox } from "../../../test/helpers/command-line.ts";

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

  test.each([
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
