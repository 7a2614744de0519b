/** @file Tests of captions that are dropped as zeros: nothing is learned from them, by no part that reads text. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { temporaryFolder } from "../../../test/helpers/command-line.ts";
import { toyRecipe } from "../../../test/helpers/toy-recipe.ts";
import { readCheckpoint } from "../run/checkpoints.ts";
import { makeModelFolder } from "./model-folder.ts";
import { parseRecipe } from "./parse-recipe.ts";
import { runRecipe, type Showing } from "./run-recipe.ts";

const folder = mkdtempSync(join(tmpdir(), "cogvideox-dropped-"));
const model = join(folder, "model");
beforeAll(() => makeModelFolder(model, parseRecipe(toyRecipe(), "toy.yaml")));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const pack = "pack: {capacity: 160, sizes: [{frames: 5, size: 16}]}";

/** What a few steps, which open the gates that text comes through, have moved: first moments that are not all zero. */
async function movedBy(transformer: string, stage: string, show?: Showing): Promise<string[]> {
  const stages = `    - {steps: 4, batch: 2, rate: 1e-2, warmUp: 0, frames: 5, ${stage}}`;
  const top = "latents: {clips: 2}\nsample: {every: 4, prompts: [one]}";
  const text = toyRecipe({ from: model, stages, transformer, top });
  const run = join(temporaryFolder(), "run");
  await runRecipe({ file: "toy.yaml", text }, { folder: run, show });
  const { tensors } = await readCheckpoint(join(run, "checkpoints"), 4);
  const moments = [...tensors].filter(([name]) => name.startsWith("mean/"));
  return moments.filter(([, { data }]) => data.some((value) => value !== 0)).map(([name]) => name);
}

const TEXT = "mean/transformer.patch_embed.text_proj.weight";
const ENCODER = "mean/text_encoder.shared.weight";
const VIDEO = "mean/transformer.patch_embed.proj.weight";

test.each([
  ["zeros", "true", "imageShare: 0", [VIDEO]],
  ["zeros", "true", "recompute: true", [VIDEO]],
  ["zeros", "true", `${pack}, recompute: true`, [VIDEO]],
  ["zeros", "false", "imageShare: 0", [VIDEO]],
  ["empty", "true", "imageShare: 0", [VIDEO, TEXT, ENCODER]],
])(
  "captions dropped as %s, an encoder that learns: %s, %s",
  async (dropped, learns, stage, moved) => {
    const transformer = `textDropout: 1\n  droppedText: ${dropped}\n  trainTextEncoder: ${learns}`;
    const names = await movedBy(transformer, stage);
    expect([VIDEO, TEXT, ENCODER].filter((name) => names.includes(name))).toEqual(moved);
  },
  600_000,
);

test("samples of such a run are told what guidance is to lead away from", async () => {
  const told: string[] = [];
  const show: Showing = {
    clip: async (base) => base,
    samples: async (_base, _model, _samples, { droppedText }) => {
      told.push(droppedText);
      return [];
    },
  };
  await movedBy("droppedText: zeros\n  trainTextEncoder: false", "imageShare: 0", show);
  expect(told).toEqual(["zeros"]);
}, 600_000);
