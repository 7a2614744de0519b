/** @file Clips that can be watched while they are decoded, in a file and on standard output; and what killed runs leave. */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { AI_GENERATED, readDigitalSourceType } from "../../src/media/provenance.ts";
import { readVideo } from "../../src/media/read.ts";
import { readRecipe } from "../../src/media/recipe.ts";
import { cogvideox, cogvideoxProcess, temporaryFolder } from "../helpers/command-line.ts";
import { recorded } from "../helpers/tiny-checkpoint.ts";

const size = ["--width", "64", "--height", "48", "--frames", "17", "--steps", "1", "--seed", "1"];
const args = ["generate", "A red circle.", "--model", recorded("t2v-rope"), ...size];

async function framesOf(file: string): Promise<Uint8Array[]> {
  const frames: Uint8Array[] = [];
  for await (const { rgb } of readVideo(file)) frames.push(rgb);
  return frames;
}

/** How often a box begins in an MP4; the name alone could be among the pictures by chance, but hardly is. */
const count = (bytes: Buffer, box: string) => bytes.toString("latin1").split(box).length - 1;

test("--fragmented has a fragment for every chunk of decoded frames, with recipe and mark", async () => {
  const folder = temporaryFolder();
  const output = join(folder, "clip.mp4");
  const ended = await cogvideox([...args, "--fragmented", "-o", output]);
  expect(ended).toMatchObject({ status: 0, stdout: `${output}\n` });
  expect(await framesOf(output)).toHaveLength(17);
  expect(count(readFileSync(output), "moof")).toBe(2); // 9 frames, then 8
  expect(await readRecipe(output)).toMatchObject({ prompt: "A red circle.", frames: 17 });
  expect(await readDigitalSourceType(output)).toBe(AI_GENERATED);
  expect(readdirSync(folder)).toEqual(["clip.mp4"]);
});

test("-o - writes the same to standard output, and nothing else", async () => {
  const cwd = temporaryFolder();
  const child = spawn(process.execPath, [join(process.cwd(), "bin/cogvideox.mjs"), ...args, "-o", "-"], {
    cwd,
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const parts: Buffer[] = [];
  let stderr = "";
  child.stdout.on("data", (part: Buffer) => parts.push(part));
  child.stderr.on("data", (part: Buffer) => {
    stderr += part.toString();
  });
  const status = await new Promise((resolve) => child.on("close", resolve));
  expect(stderr).toMatch(/^done in/m);
  expect(status).toBe(0);
  expect(readdirSync(cwd)).toEqual([]);
  const [piped, whole] = [join(cwd, "piped.mp4"), join(cwd, "whole.mp4")];
  writeFileSync(piped, Buffer.concat(parts));
  await cogvideox([...args, "--fragmented", "-o", whole]);
  expect(await framesOf(piped)).toEqual(await framesOf(whole));
  expect(await readDigitalSourceType(piped)).toBe(AI_GENERATED);
}, 60_000);

test.each<[string[], RegExp]>([
  [["--fragmented", "-o", "clip.gif"], /--fragmented works with \.mp4 alone, got --output clip\.gif/],
  [["-o", "-", "--json"], /--json and the video \(-o -\) cannot both/],
  [["-o", "-", "--seed", "1,2"], /there are 2 clips, and standard output \(-o -\) takes one/],
  [["-o", "clip.mp4", "--preview", "-"], /"-" has no known video extension/],
])("%j is refused", async (more, says) => {
  const ended = await cogvideox([...args, ...more]);
  expect(ended.stderr).toMatch(says);
  expect(ended.status).toBe(2);
});

describe("what a killed run leaves of a video", () => {
  test("is removed by the next run to the same file", async () => {
    const cwd = temporaryFolder();
    const killed = await cogvideoxProcess([...args, "--steps", "50", "-o", "clip.mp4"], {
      cwd,
      onStderr: (text) => (text.includes("step 1/50") ? "SIGKILL" : undefined),
    });
    expect(killed.status).toBeNull();
    expect(readdirSync(cwd)).toEqual([expect.stringMatching(/^\.clip\.mp4\.partial-\d+-1\.mp4$/)]);
    expect((await cogvideox([...args, "-o", "clip.mp4"], { cwd })).status).toBe(0);
    expect(readdirSync(cwd)).toEqual(["clip.mp4"]);
  }, 60_000);

  test("stays where its process lives, or another video is meant", async () => {
    const cwd = temporaryFolder();
    const living = `.clip.mp4.partial-${process.ppid}-1.mp4`;
    const notOurs = ".clip.mp4.partial-1-1.mp4"; // the first process of the system, which may not be signalled
    const other = ".other.mp4.partial-999999999-1.mp4";
    for (const name of [living, notOurs, other]) writeFileSync(join(cwd, name), "");
    mkdirSync(join(cwd, ".clip.mp4.partial-999999999-2"));
    expect((await cogvideox([...args, "-o", "clip.mp4"], { cwd })).status).toBe(0);
    expect(readdirSync(cwd).sort()).toEqual([living, notOurs, other, "clip.mp4"].sort());
    expect(existsSync(join(cwd, ".clip.mp4.partial-999999999-2"))).toBe(false);
  });
});
