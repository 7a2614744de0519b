/** @file Tests that a stage is known by its size before it is opened, and refused where it cannot fit. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { temporaryFolder } from "../../../test/helpers/command-line.ts";
import { toyRecipe } from "../../../test/helpers/toy-recipe.ts";
import { ConfigError } from "../../errors.ts";
import { trainingMemory, vaeActivations } from "../run/memory-estimate.ts";
import { makeModelFolder, readConfigs, readPart } from "./model-folder.ts";
import { parseRecipe } from "./parse-recipe.ts";
import { type RecipeEvent, runRecipe } from "./run-recipe.ts";
import { requireMemory, stageSize } from "./stage-memory.ts";
import { planStages } from "./stages.ts";

const mib = 2 ** 20;
const folder = mkdtempSync(join(tmpdir(), "cogvideox-memory-"));
const model = join(folder, "model");
const plan = (text: string) => {
  const recipe = parseRecipe(text, "toy.yaml");
  return { recipe, stages: planStages(recipe) };
};
const toy = plan(toyRecipe());
const place = { file: "toy.yaml", model };

beforeAll(() => makeModelFolder(model, toy.recipe));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("counts the values that a stage trains", async () => {
  const valuesOf = async (part: "vae" | "transformer" | "text_encoder") =>
    [...(await readPart(model, part)).values()].reduce((sum, { data }) => sum + data.length, 0);
  const [vae, transformer] = await Promise.all(
    toy.stages.map((stage) => stageSize(toy.recipe, stage, model)),
  );
  expect(vae).toMatchObject({ parameters: await valuesOf("vae"), batch: 1, microBatches: 2, engines: 1 });
  expect(transformer).toMatchObject({
    parameters: (await valuesOf("transformer")) + (await valuesOf("text_encoder")),
    batch: 4,
    microBatches: 2,
  });
  const { vae: config } = await readConfigs(model);
  expect(vae.activations(3)).toBe(3 * vaeActivations(config, { frames: 1, height: 16, width: 16 }));
});

test("takes less where weights are updated link by link, and names clip: null where that would fit", async () => {
  const stageOf = (fields: string, transformer = "") =>
    plan(
      toyRecipe({
        vaeSteps: 0,
        transformer,
        stages: `    - {steps: 1, batch: 4, recompute: true, ${fields}}`,
      }),
    );
  const sizeOf = ({ recipe, stages }: ReturnType<typeof plan>) => stageSize(recipe, stages[0], model);
  const all = await sizeOf(stageOf("clip: 1"));
  const linked = await sizeOf(stageOf("clip: null"));
  const blocks = [...(await readPart(model, "transformer"))].filter(([key]) => /blocks\.0\./.test(key));
  const inBlock = blocks.reduce((sum, [, { data }]) => sum + data.length, 0);
  expect(linked.largestLink).toBe(Math.max(inBlock, all.parameters - 2 * inBlock));
  expect(linked.parameters).toBe(all.parameters);
  expect(trainingMemory(linked).gradients).toBeLessThan(trainingMemory(all).gradients / 2);
  for (const [fields, engines] of [
    ["clip: 1", ""],
    ["clip: null, accumulate: 2", ""],
    ["clip: null", "engines: {count: 2}"],
  ])
    expect((await sizeOf(stageOf(fields, engines))).largestLink, fields).toBeUndefined();
  const changes = all.alternatives?.map(({ change, size }) => [change, size.largestLink]);
  expect(changes).toEqual([["clip: null", linked.largestLink]]);
});

test("counts a LoRA by its matrices", async () => {
  const lora = plan(toyRecipe({ from: model, transformer: "lora: {rank: 2, layers: [to_q, proj]}" }));
  const { parameters } = await stageSize(lora.recipe, lora.stages[0], model);
  // Two blocks; to_q is 32 x 32, the first map of the feed-forward 128 x 32, and patch_embed.proj maps 4 x 2 x 2 to 32.
  expect(parameters).toBe(2 * (2 * (32 + 32) + 2 * (128 + 32)) + 2 * (16 + 32));
});

test("refuses a stage with the numbers and with what would fit", async () => {
  const large = plan(toyRecipe().replace("batch: 4, accumulate: 2", "batch: 4000"));
  const going = requireMemory(large.recipe, large.stages[1], place, 1024 * mib);
  await expect(going).rejects.toThrow(ConfigError);
  await expect(going).rejects.toThrow(
    /^toy.yaml: transformer.stages\[0\]: training takes about 3.0 GiB of memory, and 1.0 GiB are free; micro-batches of 1\d{3} instead of 4000 would fit, 4 of them a step/,
  );
});

test("is told before a stage begins, or ends the run before anything is encoded", async () => {
  const text = toyRecipe({ from: model, transformerSteps: 1 });
  const run = async (recipe: string) => {
    const events: RecipeEvent[] = [];
    const onEvent = (event: RecipeEvent) => events.push(event);
    const source = { file: "toy.yaml", text: recipe };
    const going = runRecipe(source, { folder: join(temporaryFolder(), "run"), onEvent });
    return {
      events,
      error: await going.then(
        () => null,
        (error: Error) => error,
      ),
    };
  };
  const fits = await run(text);
  expect(fits.error).toBeNull();
  expect(fits.events[0]).toMatchObject({ kind: "memory", stage: "transformer 1" });
  const tooMuch = await run(text.replace("batch: 4", "batch: 400000000"));
  expect(tooMuch.error?.message).toMatch(/transformer.stages\[0\]: training takes about \d+.\d GiB/);
  expect(tooMuch.events).toEqual([]);
});
