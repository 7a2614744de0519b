/** @file The tiny decoder on the command line, for the clip and for looks at it. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readVideo } from "../../src/media/read.ts";
import { readRecipe } from "../../src/media/recipe.ts";
import { cogvideox, jsonLines, temporaryFolder } from "../helpers/command-line.ts";
import { recorded } from "../helpers/tiny-checkpoint.ts";

const weights = join(process.cwd(), "test/fixtures/tiny-vae/taecvx.safetensors");
const size = ["--width", "64", "--height", "48", "--frames", "9", "--steps", "2", "--seed", "1"];
const args = ["generate", "A red circle.", "--model", recorded("t2v-rope"), ...size];

test("decodes the clip, and shows it in full after every step", async () => {
  const cwd = temporaryFolder();
  const more = [
    "--decoder",
    weights,
    "--preview",
    "look.gif",
    "--preview-decoder",
    weights,
    "-o",
    "clip.gif",
  ];
  const ended = await cogvideox([...args, ...more, "--json"], { cwd });
  expect(ended.stderr).not.toMatch(/error/);
  expect(ended.status).toBe(0);
  expect(jsonLines(ended).filter(({ event }) => event === "preview")).toHaveLength(2);
  for (const name of ["clip.gif", "look.gif"]) {
    const frames = [];
    for await (const { width, height } of readVideo(join(cwd, name))) frames.push([width, height]);
    expect(frames).toEqual(Array(9).fill([64, 48]));
  }
  const sha256 = createHash("sha256").update(readFileSync(weights)).digest("hex");
  expect(await readRecipe(join(cwd, "clip.gif"))).toMatchObject({ decoder: { file: weights, sha256 } });
  const like = await cogvideox(["generate", "--like", "clip.gif", "-o", "like.gif"], { cwd });
  expect(like.status).toBe(0);
  expect(readFileSync(join(cwd, "like.gif")).equals(readFileSync(join(cwd, "clip.gif")))).toBe(true);
});

test.each<[string[], RegExp, number]>([
  [["--preview-decoder", weights], /--preview-decoder needs --preview/, 2],
  [["--decoder", "tiny"], /t2v-rope\/taecvx\.safetensors/, 1],
])("%j is refused", async (more, says, status) => {
  const ended = await cogvideox([...args, ...more, "-o", "clip.gif"]);
  expect(ended.stderr).toMatch(says);
  expect(ended.status).toBe(status);
});
