/**
 * @file PSNR, SSIM and flicker of a checkpoint's VAE on held-out clips of a recipe's shapes, as JSON.
 *
 *     npx tsx scripts/vae-report.ts [DIR] [--clips N] [--recipe FILE]
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { renderScene } from "../src/data/shapes/render.ts";
import { drawScene } from "../src/data/shapes/scene.ts";
import { Engine } from "../src/runtime/engine.ts";
import { planar } from "../src/train/recipe/clips.ts";
import { parseRecipe } from "../src/train/recipe/parse-recipe.ts";
import { type ReconstructionReport, reportReconstruction } from "../src/train/vae/metrics.ts";
import { reconstructor, stackOf } from "./reconstruction.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    clips: { type: "string", default: "32" },
    recipe: { type: "string", default: "recipes/nano.yaml" },
  },
});
const count = Number(values.clips);
const { data } = parseRecipe(readFileSync(values.recipe, "utf8"), values.recipe);
if (data.kind !== "shapes") throw new Error(`${values.recipe} trains on ${data.kind}, not on shapes`);
const { size, frames, patterned, twoObjects, camera, grid } = data;
const draw = { patterned, twoObjects, camera, grid };
const engine = new Engine({ threads: 2 });
const reconstruct = await reconstructor(engine, positionals[0] ?? "models/nano");
const reports: ReconstructionReport[] = [];
for (let index = 0; index < count; index++) {
  const scene = drawScene({ seed: 99, index, split: "held-out", ...draw });
  const source = planar(renderScene(scene, { width: size, height: size, frames }), size);
  const shape = [frames, 3, size, size] as const;
  const back = await reconstruct({ dtype: "f32", shape, data: source });
  reports.push(reportReconstruction(stackOf(source, shape), stackOf(back, shape)));
}
await engine.close();
const names = Object.keys(reports[0]) as (keyof ReconstructionReport)[];
const means = names.map((name) => {
  const mean = reports.reduce((sum, each) => sum + each[name], 0) / reports.length;
  return [name, Number(mean.toFixed(4))];
});
const worstPsnr = Number(Math.min(...reports.map(({ psnr }) => psnr)).toFixed(2));
console.log(JSON.stringify({ clips: count, frames, ...draw, ...Object.fromEntries(means), worstPsnr }));
