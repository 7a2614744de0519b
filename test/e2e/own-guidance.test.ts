/** @file The guidance that a checkpoint says suits it, on the command line. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readRecipe } from "../../src/media/recipe.ts";
import { cogvideox, jsonLines, temporaryFolder } from "../helpers/command-line.ts";
import { copyCheckpoint, editJson } from "../helpers/tiny-checkpoint.ts";

const size = ["--width", "64", "--height", "48", "--frames", "9", "--steps", "2", "--seed", "1"];

/** A copy of a checkpoint that says its guidance. */
function saying(guidance: unknown): string {
  const model = copyCheckpoint("t2v-rope");
  editJson(join(model, "transformer/config.json"), { _guidance_scale: guidance });
  return model;
}

test("is what a clip is made with unless told otherwise, and what its recipe and its saved run say", async () => {
  const cwd = temporaryFolder();
  const model = saying(2.5);
  const clip = async (name: string, more: readonly string[]) => {
    const files = ["--save-latents", `${name}.safetensors`, "-o", `${name}.gif`];
    expect(await cogvideox(["generate", ...more, ...files], { cwd })).toMatchObject({ status: 0 });
    return readFileSync(join(cwd, `${name}.safetensors`));
  };
  const asked = ["A red circle.", "--model", model, ...size];
  const own = await clip("own", [...asked, "--checkpoint-dir", "run"]);
  expect(own.equals(await clip("same", [...asked, "--guidance", "2.5"]))).toBe(true);
  expect(own.equals(await clip("other", [...asked, "--guidance", "6"]))).toBe(false);
  expect(await readRecipe(join(cwd, "own.gif"))).toMatchObject({ guidance: 2.5 });
  expect(JSON.parse(readFileSync(join(cwd, "run/job.json"), "utf8")).values).toMatchObject({ guidance: 2.5 });
  // The clip that is to be like it keeps the guidance, whatever the checkpoint says by then.
  editJson(join(model, "transformer/config.json"), { _guidance_scale: 1 });
  expect(own.equals(await clip("like", ["--like", "own.gif"]))).toBe(true);
});

test("of 1 spares the text without the prompt and half of the model, in the plan too", async () => {
  const seconds = async (model: string) => {
    const planned = await cogvideox(["plan", "A red circle.", "--model", model, ...size, "--json"]);
    const { stages } = jsonLines(planned)[0] as unknown as { stages: { stage: string; seconds: number }[] };
    return stages.find(({ stage }) => stage === "denoise")!.seconds;
  };
  expect(await seconds(saying(1))).toBeLessThan(0.7 * (await seconds(saying(6))));
});

test("is refused in a sentence where it is no number", async () => {
  const ended = await cogvideox(["generate", "A red circle.", "--model", saying("3"), ...size]);
  expect(ended.stderr).toMatch(/config\.json: _guidance_scale is "3"; it must be a number such as 6/);
  expect(ended.status).toBe(2);
});
