/**
 * @file Runs the ablations of recipes/ablations with several seeds and draws their curves with error bars.
 * Usage: tsx scripts/ablations.ts [--steps 2000] [--seeds 3] [--only timesteps,positions] [--runs runs/ablations]
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { parseDocument } from "yaml";
import { runRecipe } from "../src/train/recipe/run-recipe.ts";
import { readMetrics, seriesOf } from "../src/train/run/metrics.ts";

/** Curves of one picture: label and recipe. */
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
  batches: [
    ["packed", "packed"],
    ["bucketed", "bucketed"],
  ],
  modulation: [
    ["expert", "base"],
    ["shared", "shared-norm"],
    ["none", "plain-norm"],
  ],
};

/** Mean and deviation over seeds at points along a run. */
type Curve = {
  readonly label: string;
  readonly steps: number[];
  readonly mean: number[];
  readonly error: number[];
};

const { values } = parseArgs({
  options: {
    steps: { type: "string", default: "2000" },
    seeds: { type: "string", default: "3" },
    only: { type: "string" },
    runs: { type: "string", default: "runs/ablations" },
  },
});
const [steps, seeds] = [Number(values.steps), Number(values.seeds)];
const POINTS = 40;

mkdirSync("docs/images", { recursive: true });
for (const name of values.only?.split(",") ?? Object.keys(ablations)) {
  const curves: Curve[] = [];
  for (const [label, recipe] of ablations[name]) {
    const losses: number[][] = [];
    for (let seed = 1; seed <= seeds; seed++) losses.push(await lossesOf(recipe, seed));
    curves.push(curveOf(label, losses));
  }
  const file = join("docs/images", `ablation-${name}.svg`);
  writeFileSync(file, draw(name, curves));
  for (const { label, mean, error } of curves)
    console.log(`${name}, ${label}: ${mean.at(-1)!.toFixed(4)} ± ${error.at(-1)!.toFixed(4)}`);
  console.log(file);
}

/** Loss of every step; a run that is there already is gone on with or only read. */
async function lossesOf(recipe: string, seed: number): Promise<number[]> {
  const file = join("recipes/ablations", `${recipe}.yaml`);
  const document = parseDocument(readFileSync(file, "utf8"));
  document.set("seed", seed);
  document.setIn(["model", "new", "seed"], seed);
  document.setIn(["transformer", "stages", 0, "steps"], steps);
  const folder = join(values.runs, `${recipe}-${steps}-${seed}`);
  console.log(`${folder} ...`);
  await runRecipe({ file, text: String(document) }, { folder, resume: "auto" });
  return seriesOf(await readMetrics(join(folder, "metrics.jsonl")), "loss").values;
}

/** Means of stretches of a run, over seeds, with the standard error of their mean. */
function curveOf(label: string, losses: readonly number[][]): Curve {
  const width = Math.max(1, Math.floor(losses[0].length / POINTS));
  const count = Math.floor(losses[0].length / width);
  const at = (i: number) => losses.map((run) => average(run.slice(i * width, (i + 1) * width)));
  const points = Array.from({ length: count }, (_, i) => at(i));
  const mean = points.map(average);
  const error = points.map((each, i) => {
    const spread = each.reduce((sum, value) => sum + (value - mean[i]) ** 2, 0);
    return each.length < 2 ? 0 : Math.sqrt(spread / (each.length - 1) / each.length);
  });
  return { label, steps: points.map((_, i) => (i + 0.5) * width), mean, error };
}

function average(list: readonly number[]): number {
  return list.reduce((sum, value) => sum + value, 0) / list.length;
}

function draw(name: string, curves: readonly Curve[]): string {
  const [width, height, left, bottom] = [640, 360, 56, 40];
  const all = curves.flatMap(({ mean, error }) => mean.flatMap((m, i) => [m - error[i], m + error[i]]));
  const [least, most] = [Math.min(...all), Math.min(Math.max(...all), 1)];
  const x = (step: number) => left + ((width - left - 12) * step) / steps;
  const y = (loss: number) =>
    12 + (height - bottom - 12) * (1 - (Math.min(loss, most) - least) / (most - least || 1));
  const colours = ["#1b6ca8", "#d1495b", "#3a7d44"];
  const lines = curves.map(({ steps: at, mean, error, label }, k) => {
    const path = mean.map((m, i) => `${x(at[i]).toFixed(1)},${y(m).toFixed(1)}`).join(" ");
    const bars = mean
      .map((m, i) => {
        const px = x(at[i]).toFixed(1);
        return `<path d="M${px} ${y(m - error[i]).toFixed(1)}V${y(m + error[i]).toFixed(1)}"/>`;
      })
      .join("");
    return (
      `<g stroke="${colours[k]}" fill="none"><polyline points="${path}" stroke-width="2"/>${bars}</g>` +
      `<text x="${width - 16}" y="${30 + 18 * k}" text-anchor="end" fill="${colours[k]}">${label}</text>`
    );
  });
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => {
    const loss = least + share * (most - least);
    return (
      `<text x="${left - 6}" y="${(y(loss) + 4).toFixed(1)}" text-anchor="end">${loss.toFixed(3)}</text>` +
      `<text x="${x(share * steps)}" y="${height - bottom + 18}" text-anchor="middle">${Math.round(share * steps)}</text>`
    );
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">
<title>Training loss: ${name}</title>
<rect width="${width}" height="${height}" fill="#fff"/>
<path d="M${left} 12V${height - bottom}H${width - 12}" stroke="#888" fill="none"/>
${ticks.join("\n")}
${lines.join("\n")}
<text x="${(left + width) / 2}" y="${height - 6}" text-anchor="middle">step</text>
</svg>
`;
}
