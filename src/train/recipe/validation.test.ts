/** @file Tests of losses on held-out clips: they are the model's own, the same for every run, and training does not see them. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryFolder } from "../../../test/helpers/command-line.ts";
import { toyRecipe } from "../../../test/helpers/toy-recipe.ts";
import { isHeldOut } from "../../data/shapes/held-out.ts";
import { renderScene } from "../../data/shapes/render.ts";
import { sceneList } from "../../data/shapes/scene-list.ts";
import { rgbToSigned } from "../../media/frames.ts";
import { readMetrics, seriesOf } from "../run/metrics.ts";
import { heldOutClips, trainingClips } from "./open-clips.ts";
import { parseRecipe } from "./parse-recipe.ts";
import { type RecipeEvent, runRecipe } from "./run-recipe.ts";
import { evenTimesteps } from "./validation.ts";

const LONG = 600_000;
const measuring = "validate: {every: 2, clips: 3, timesteps: 4}";
const recipe = (options: Parameters<typeof toyRecipe>[0]) =>
  toyRecipe({ vaeSteps: 0, transformerSteps: 5, ...options });

async function run(text: string, folder: string, maxSteps?: number): Promise<RecipeEvent[]> {
  const events: RecipeEvent[] = [];
  const onEvent = (event: RecipeEvent) => events.push(event);
  await runRecipe({ file: "toy.yaml", text }, { folder, resume: "auto", maxSteps, onEvent });
  return events;
}

const validationsOf = (events: readonly RecipeEvent[]) =>
  events.flatMap((event) => (event.kind === "validation" ? [event] : []));

function weightsAt(folder: string, step: number): Buffer {
  return readFileSync(join(folder, "checkpoints", `step-0000000${step}`, "state.safetensors"));
}

test(
  "measures every so many steps and at the end, the same after a stop, and changes nothing that is trained",
  async () => {
    const all = temporaryFolder();
    const [plain, whole, pieces] = ["plain", "whole", "pieces"].map((name) => join(all, name));
    const shared = `cache: ${join(all, "shared")}`;
    await run(recipe({ top: shared }), plain);
    const text = recipe({ top: `${measuring}\n${shared}` });
    const found = validationsOf(await run(text, whole));
    expect(found.map(({ step }) => step)).toEqual([2, 4, 5]);
    expect(weightsAt(whole, 5).equals(weightsAt(plain, 5))).toBe(true);
    const first = await run(text, pieces, 3);
    const again = [...validationsOf(first), ...validationsOf(await run(text, pieces))];
    expect(again).toEqual(found);
    expect(readdirSync(whole)).not.toContain("cache");

    const metrics = await readMetrics(join(pieces, "metrics.jsonl"));
    expect(seriesOf(metrics, "loss").steps).toEqual([1, 2, 3, 4, 5]);
    expect(seriesOf(metrics, "validation")).toEqual({
      steps: [2, 4, 5],
      values: found.map(({ loss }) => loss),
    });
    const [, , { loss, byTimestep }] = found;
    expect(byTimestep.map(({ timestep }) => timestep)).toEqual([125, 375, 625, 875]);
    expect(byTimestep.reduce((sum, each) => sum + each.loss, 0) / 4).toBeCloseTo(loss, 6);
    expect(metrics.at(-1)).toMatchObject({ step: 5, validation_at_875: byTimestep[3].loss });
  },
  LONG,
);

test(
  "gives models of the same weights the same losses, however clips are batched and shared out over engines",
  async () => {
    const all = temporaryFolder();
    const from = join(all, "trained", "output");
    await run(recipe({ transformerSteps: 3 }), join(all, "trained"));
    // So small a rate leaves the weights as they are.
    const losses = async (name: string, changes: { stages: string; transformer?: string; seed?: number }) => {
      const text = recipe({ ...changes, from, top: `${measuring}\ncache: ${join(all, "shared")}` });
      const events = await run(text.replace("seed: 3", `seed: ${changes.seed ?? 3}`), join(all, name));
      return validationsOf(events)[0].byTimestep.map(({ loss }) => loss);
    };
    const stage = (fields: string) => `    - {steps: 1, rate: 1.0e-12, ${fields}}`;
    const single = await losses("single", { stages: stage("batch: 5") });
    const others = [
      await losses("two", {
        stages: stage("batch: 2, accumulate: 2"),
        transformer: "engines: {count: 2}",
        seed: 4,
      }),
      await losses("packed", {
        stages: stage("batch: 2, pack: {capacity: 500, sizes: [{frames: 9, size: 16}]}"),
      }),
    ];
    for (const other of others)
      for (const [i, loss] of other.entries()) expect(loss).toBeCloseTo(single[i], 5);
  },
  LONG,
);

test("takes compositions that training never shows", async () => {
  const parsed = parseRecipe(recipe({ top: "validate: {every: 1, clips: 6}" }), "toy.yaml");
  const [held, trained] = [(await heldOutClips(parsed))!, await trainingClips(parsed)];
  expect(held.count).toBe(6);
  const plain = { twoObjects: 0, camera: 0, patterned: 0 };
  const at = sceneList({ seed: 5, split: "held-out", ...plain });
  const size = { width: 16, height: 16 };
  for (const index of [0, 1, 2, 3, 4, 5]) {
    const { scene } = at(index);
    expect(isHeldOut(scene.objects[0])).toBe(true);
    expect(await held.pixels(index, size)).toEqual(
      rgbToSigned(renderScene(scene, { ...size, frames: 9 }), size),
    );
  }
  const digests = [held, trained].flatMap(({ content }) => [0, 1, 2, 3, 4, 5].map(content));
  expect(new Set(digests.map((content) => JSON.stringify(content))).size).toBe(12);
});

test("spreads timesteps evenly over the schedule", () => {
  expect(evenTimesteps(4, 1000)).toEqual([125, 375, 625, 875]);
  expect(evenTimesteps(1, 1000)).toEqual([500]);
});

test("says where clips to measure on must come from", () => {
  const top = "validate: {every: 1, path: elsewhere}";
  expect(() => parseRecipe(recipe({ top }), "toy.yaml")).toThrow(
    "toy.yaml: validate.path is elsewhere, but shapes are measured on held-out compositions; leave it out",
  );
  const folder = "model: {from: a}\ndata: {kind: folder, path: b}\ntransformer: {stages: [{steps: 1}]}\n";
  expect(() => parseRecipe(`${folder}validate: {every: 1}`, "toy.yaml")).toThrow(
    "toy.yaml: validate needs a path, a folder of clips that data does not have",
  );
});
