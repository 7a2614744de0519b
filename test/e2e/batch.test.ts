/** @file Several clips in one call are those of single calls, and have numbered names. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readRecipe } from "../../src/media/recipe.ts";
import { clipsOf, generateBatch } from "../../src/pipeline/batch.ts";
import { loadPipeline } from "../../src/pipeline/pipeline.ts";
import { textToVideo } from "../../src/pipeline/text-to-video.ts";
import { cogvideox, jsonLines, temporaryFolder } from "../helpers/command-line.ts";
import { recorded } from "../helpers/tiny-checkpoint.ts";

const model = recorded("t2v-sincos");
const circle = "A red circle moves left.";
const square = "A blue square turns around.";

test("every prompt is made with every seed", () => {
  const clips = clipsOf({ prompt: ["a", "b"], seed: [1, 2], steps: 3 });
  expect(clips.map(({ prompt, seed, steps }) => [prompt, seed, steps])).toEqual([
    ["a", 1, 3],
    ["a", 2, 3],
    ["b", 1, 3],
    ["b", 2, 3],
  ]);
  expect(clipsOf({ prompt: "a" })).toHaveLength(1);
});

test("clips of a batch have the latents of single runs, bit for bit", async () => {
  const pipeline = await loadPipeline(model);
  try {
    const options = { steps: 2, latentsOnly: true };
    const batched = new Map<number, ArrayLike<unknown>>();
    for await (const event of generateBatch(pipeline, { ...options, prompt: [circle, square], seed: [1, 2] }))
      if (event.kind === "latents") batched.set(event.clip, event.latents.data);
    for (const [i, [prompt, seed]] of [
      [circle, 1],
      [circle, 2],
      [square, 1],
      [square, 2],
    ].entries()) {
      const one = { ...options, prompt: prompt as string, seed: seed as number };
      for await (const event of textToVideo(pipeline, one))
        if (event.kind === "latents") expect(batched.get(i)).toEqual(event.latents.data);
    }
  } finally {
    await pipeline.close();
  }
});

test("files are numbered, and each is that of a call of its own", async () => {
  const cwd = temporaryFolder();
  writeFileSync(join(cwd, "prompts.txt"), `${circle}\n\n${square}\r\n`);
  const base = ["generate", "--model", model, "--steps", "1", "--json"];
  const ended = await cogvideox(
    [
      ...base,
      "--prompts",
      "prompts.txt",
      "--seed",
      "1,2",
      "-o",
      "clip.mp4",
      "--save-latents",
      "l.safetensors",
    ],
    { cwd },
  );
  expect(ended.stderr).toMatch(/clip 4 of 4/);
  expect(ended.status).toBe(0);
  const numbers = [1, 2, 3, 4];
  expect(readdirSync(cwd).sort()).toEqual(
    [
      ...numbers.map((n) => `clip-${n}.mp4`),
      ...numbers.map((n) => `l-${n}.safetensors`),
      "prompts.txt",
    ].sort(),
  );
  expect(jsonLines(ended).filter(({ event }) => event === "done")).toMatchObject(
    numbers.map((clip) => ({ clip, clips: 4 })),
  );
  expect(await readRecipe(join(cwd, "clip-3.mp4"))).toMatchObject({ prompt: square, seed: 1 });
  await cogvideox([...base, square, "--seed", "1", "-o", "alone.mp4"], { cwd });
  expect(readFileSync(join(cwd, "alone.mp4")).equals(readFileSync(join(cwd, "clip-3.mp4")))).toBe(true);
});
