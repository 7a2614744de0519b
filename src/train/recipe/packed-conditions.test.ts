/** @file Tests that models which see more than the text train on packed rows as they train on their clips one by one. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { temporaryFolder } from "../../../test/helpers/command-line.ts";
import { toyRecipe } from "../../../test/helpers/toy-recipe.ts";
import { readMetrics } from "../run/metrics.ts";
import { makeModelFolder } from "./model-folder.ts";
import { parseRecipe } from "./parse-recipe.ts";
import { runRecipe } from "./run-recipe.ts";

const folder = mkdtempSync(join(tmpdir(), "cogvideox-packed-"));
const model = join(folder, "model");
beforeAll(() => makeModelFolder(model, parseRecipe(toyRecipe(), "toy.yaml")));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Metrics of two steps on four clips each. */
async function metricsOf(transformer: string, stage: string) {
  const stages = `    - {steps: 2, batch: 1, accumulate: 4, rate: 1e-3, warmUp: 0, ${stage}}`;
  const top = "latents: {clips: 4}";
  const run = join(temporaryFolder(), "run");
  const text = toyRecipe({ from: model, stages, transformer, top });
  await runRecipe({ file: "toy.yaml", text }, { folder: run });
  return readMetrics(join(run, "metrics.jsonl"));
}

describe.each(["image: {}", "inpaint: {}", "control: {kind: edges}"])("with %s", (transformer) => {
  test("rows have the losses and gradients of their clips one by one", async () => {
    const alone = await metricsOf(transformer, "frames: 9");
    const packed = await metricsOf(transformer, "pack: {capacity: 200, sizes: [{frames: 9, size: 16}]}");
    expect(packed).toHaveLength(2);
    for (const [i, { loss, gradientNorm }] of alone.entries()) {
      expect(packed[i].loss).toBeCloseTo(Number(loss), 4);
      expect(packed[i].gradientNorm).toBeCloseTo(Number(gradientNorm), 4);
    }
  }, 600_000);

  test("rows of clips and images of several sizes have the same losses block by block", async () => {
    const sizes = "sizes: [{frames: 9, size: 16}, {frames: 5, size: 16x8}]";
    const stage = `imageShare: 0.4, pack: {capacity: 200, ${sizes}}`;
    const [whole, blocks] = [
      await metricsOf(transformer, stage),
      await metricsOf(transformer, `${stage}, recompute: true`),
    ];
    expect(blocks).toHaveLength(2);
    for (const [i, { loss, gradientNorm }] of whole.entries()) {
      expect(blocks[i].loss).toBeCloseTo(Number(loss), 4);
      expect(blocks[i].gradientNorm).toBeCloseTo(Number(gradientNorm), 4);
    }
  }, 600_000);
});

test("two engines that share rows out have the losses and gradients of one", async () => {
  const sizes = "sizes: [{frames: 9, size: 16}, {frames: 5, size: 16x8}]";
  const stage = `imageShare: 0.4, pack: {capacity: 100, ${sizes}}`;
  const [one, two] = [await metricsOf("", stage), await metricsOf("engines: {count: 2}", stage)];
  expect(two).toHaveLength(2);
  for (const [i, { loss, gradientNorm }] of one.entries()) {
    expect(two[i].loss).toBeCloseTo(Number(loss), 4);
    expect(two[i].gradientNorm).toBeCloseTo(Number(gradientNorm), 4);
  }
}, 600_000);
