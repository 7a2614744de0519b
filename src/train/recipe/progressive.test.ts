/** @file Tests of stages that grow: images beside clips, then packed rows of larger clips, killed in between. */
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryFolder } from "../../../test/helpers/command-line.ts";
import { toyRecipe } from "../../../test/helpers/toy-recipe.ts";
import { readMetrics } from "../run/metrics.ts";
import { runRecipe } from "./run-recipe.ts";

const text = toyRecipe({
  vaeSteps: 0,
  stages: `
    - {steps: 2, frames: 5, size: 8, batch: 2, accumulate: 2, imageShare: 0.5, positions: extrapolate, rate: 3e-3}
    - steps: 2
      batch: 4
      imageShare: 0.25
      positions: extrapolate
      pack: {capacity: 120, sizes: [{frames: 9, size: 16}, {frames: 5, size: 16x8}, {frames: 5, size: 8x16}]}
      rate: 3e-3
`,
  top: "latents: {clips: 4}",
}).replace("every: 10", "every: 2");

const run = (folder: string, options = {}) => runRecipe({ file: "toy.yaml", text }, { folder, ...options });
const checkpoint = (folder: string, step: number) => join(folder, "checkpoints", `step-0000000${step}`);

test("a stage of larger, packed clips goes on with the one before, and a killed run with itself, bit for bit", async () => {
  const [whole, pieces] = [join(temporaryFolder(), "run"), join(temporaryFolder(), "run")];
  await run(whole);
  await run(pieces, { maxSteps: 3 });
  // As if it had been killed before that save: what is left is the end of the first stage.
  rmSync(checkpoint(pieces, 3), { recursive: true });
  await run(pieces, { resume: true });
  const file = (name: string) => (folder: string) => readFileSync(join(checkpoint(folder, 4), name));
  const [tensors, state] = [file("state.safetensors"), file("state.json")];
  expect(tensors(pieces).equals(tensors(whole))).toBe(true);
  expect(state(pieces).equals(state(whole))).toBe(true);
  expect(JSON.parse(state(whole).toString())).toMatchObject({
    task: "transformer 2",
    state: { updatesBefore: 2 },
  });
  const metrics = await readMetrics(join(pieces, "metrics.jsonl"));
  expect(metrics.map(({ step, stage }) => `${stage}: ${step}`)).toEqual([
    "transformer 1: 1",
    "transformer 1: 2",
    "transformer 2: 3",
    "transformer 2: 4",
  ]);
  // Four clips, each as an image and as a clip: small in the first stage, and in the three sizes of the second.
  expect(entriesOf(join(whole, "cache", "moments"))).toBe(4 * 2 * (1 + 3));
}, 600_000);

function entriesOf(folder: string): number {
  const names = readdirSync(folder, { recursive: true }) as string[];
  return names.filter((name) => name.endsWith(".safetensors")).length;
}
