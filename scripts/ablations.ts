/**
 * @file Runs the ablations of recipes/ablations with several seeds, draws their curves, and prints what docs/ablations.md shows.
 * Usage: tsx scripts/ablations.ts [--steps 600] [--seeds 3] [--jobs 2] [--only timesteps,positions] [--runs runs/ablations]
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { drawAblation } from "./ablation-chart.ts";
import { type AblationRun, folderOf, isDone, runAll } from "./ablation-runs.ts";
import { type Arm, readArm, table } from "./ablation-table.ts";

/** Arms of one comparison, label and recipe; the others are compared with the first. */
const ablations: Readonly<Record<string, readonly (readonly [label: string, recipe: string])[]>> = {
  timesteps: [
    ["explicit uniform", "base"],
    ["independent", "independent-timesteps"],
  ],
  positions: [
    ["rotary", "base"],
    ["sin-cos", "sincos"],
  ],
  attention: [
    ["full 3D", "base"],
    ["space and time by turns", "factorised"],
  ],
  modulation: [
    ["expert", "base"],
    ["shared", "shared-norm"],
    ["none", "plain-norm"],
  ],
  batches: [
    ["packed", "packed"],
    ["bucketed", "bucketed"],
  ],
};

const { values } = parseArgs({
  options: {
    steps: { type: "string", default: "600" },
    seeds: { type: "string", default: "3" },
    jobs: { type: "string", default: "2" },
    only: { type: "string" },
    runs: { type: "string", default: "runs/ablations" },
    images: { type: "string", default: "docs/images" },
  },
});
const [steps, seeds, jobs] = [values.steps, values.seeds, values.jobs].map(Number);
const names = values.only?.split(",") ?? Object.keys(ablations);

/** Seed by seed, so that all arms have as many of them when it is stopped. */
function plannedRuns(): AblationRun[] {
  const recipes = [...new Set(names.flatMap((name) => ablations[name].map(([, recipe]) => recipe)))];
  return Array.from({ length: seeds }, (_, i) => i + 1).flatMap((seed) =>
    recipes.map((recipe) => ({ recipe, seed, steps, runs: values.runs })),
  );
}

async function armsOf(name: string, runs: readonly AblationRun[]): Promise<Arm[]> {
  const arms: Arm[] = [];
  for (const [label, recipe] of ablations[name]) {
    const own = runs.filter((run) => run.recipe === recipe);
    arms.push(await readArm(label, new Map(own.map((run) => [run.seed, folderOf(run)]))));
  }
  return arms;
}

const planned = plannedRuns();
await runAll(planned, jobs);
const finished: AblationRun[] = [];
for (const run of planned) if (await isDone(run)) finished.push(run);
mkdirSync(values.images, { recursive: true });
const rows: (readonly [name: string, arms: readonly Arm[]])[] = [];
for (const name of names) {
  const arms = await armsOf(name, finished);
  if (arms.some(({ runs }) => runs.size === 0)) continue;
  rows.push([name, arms]);
  const file = join(values.images, `ablation-${name}.svg`);
  writeFileSync(file, drawAblation(name, arms, steps));
  console.error(file);
}
const pictures = rows.map(([name]) => `![${name}](images/ablation-${name}.svg)`);
console.log([table(rows), ...pictures].join("\n\n"));
process.exitCode = finished.length === planned.length ? 0 : 1;
