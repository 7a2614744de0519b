/**
 * @file PSNR, SSIM and flicker of a checkpoint's VAE on held-out clips of a recipe's shapes, as JSON.
 *
 *     npx tsx scripts/vae-report.ts [DIR] [--clips N] [--recipe FILE]
 */
import { parseArgs } from "node:util";
import { renderScene } from "../src/data/shapes/render.ts";
import { rgbToSigned } from "../src/media/frames.ts";
import { Engine } from "../src/runtime/engine.ts";
import { mean } from "../src/train/mean.ts";
import { type ReconstructionReport, reportReconstruction } from "../src/train/vae/metrics.ts";
import { heldOutScenes, shapesOf } from "./recipe-scenes.ts";
import { reconstructor, stackOf } from "./reconstruction.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    clips: { type: "string", default: "32" },
    recipe: { type: "string", default: "recipes/nano.yaml" },
  },
});
const count = Number(values.clips);
const data = shapesOf(values.recipe);
const { size, frames } = data;
const sceneAt = heldOutScenes(data, 99);
const engine = new Engine({ threads: 2 });
const reconstruct = await reconstructor(engine, positionals[0] ?? "models/nano");
const reports: ReconstructionReport[] = [];
for (let index = 0; index < count; index++) {
  const source = rgbToSigned(renderScene(sceneAt(index), { ...size, frames }), size);
  const shape = [frames, 3, size.height, size.width] as const;
  const back = await reconstruct({ dtype: "f32", shape, data: source });
  reports.push(reportReconstruction(stackOf(source, shape), stackOf(back, shape)));
}
await engine.close();
const names = Object.keys(reports[0]) as (keyof ReconstructionReport)[];
const means = names.map((name) => [name, Number(mean(reports.map((each) => each[name])).toFixed(4))]);
const worstPsnr = Number(Math.min(...reports.map(({ psnr }) => psnr)).toFixed(2));
console.log(JSON.stringify({ clips: count, frames, ...Object.fromEntries(means), worstPsnr }));
