/** @file Tests that stages with recompute train as stages without: whole weights, rounded ones, packed LoRAs. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { temporaryFolder } from "../../../test/helpers/command-line.ts";
import { toyRecipe } from "../../../test/helpers/toy-recipe.ts";
import { readCheckpoint } from "../run/checkpoints.ts";
import { readMetrics } from "../run/metrics.ts";
import { makeModelFolder } from "./model-folder.ts";
import { parseRecipe } from "./parse-recipe.ts";
import { runRecipe } from "./run-recipe.ts";

const folder = mkdtempSync(join(tmpdir(), "cogvideox-recompute-"));
const model = join(folder, "model");
beforeAll(() => makeModelFolder(model, parseRecipe(toyRecipe(), "toy.yaml")));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const pack = "pack: {capacity: 160, sizes: [{frames: 9, size: 16}, {frames: 5, size: 16}]}";

test.each([
  ["whole weights and images", "accumulate: 2, imageShare: 0.5", "trainTextEncoder: true"],
  ["weights in bfloat16, on two engines", "accumulate: 2, storage: bf16", "engines: {count: 2}"],
  ["a LoRA on packed rows", `${pack}, storage: bf16`, "lora: {rank: 2, alpha: 4}"],
])(
  "%s",
  async (_, stage, transformer) => {
    const trained = async (recompute: boolean) => {
      const stages = `    - {steps: 2, batch: 2, rate: 1e-3, warmUp: 0, recompute: ${recompute}, ${stage}}`;
      const top = "latents: {clips: 4}";
      const text = toyRecipe({ from: model, stages, transformer, top });
      const run = join(temporaryFolder(), "run");
      await runRecipe({ file: "toy.yaml", text }, { folder: run });
      const { tensors } = await readCheckpoint(join(run, "checkpoints"), 2);
      return { metrics: await readMetrics(join(run, "metrics.jsonl")), tensors };
    };
    const [whole, pieces] = [await trained(false), await trained(true)];
    for (const [i, line] of whole.metrics.entries()) {
      expect(pieces.metrics[i].loss).toBeCloseTo(Number(line.loss), 4);
      expect(pieces.metrics[i].gradientNorm).toBeCloseTo(Number(line.gradientNorm), 4);
    }
    expect([...pieces.tensors.keys()].sort()).toEqual([...whole.tensors.keys()].sort());
    // Adam divides by the gradient's size, so that weights differ where a gradient is all rounding; its mean does not.
    for (const [name, { data }] of whole.tensors)
      if (name.startsWith("mean/"))
        expect([...pieces.tensors.get(name)!.data]).toBeCloseToArray([...data], { atol: 2e-5, rtol: 1e-3 });
  },
  600_000,
);
