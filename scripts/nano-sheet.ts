/**
 * @file Draws docs/images/nano.png: clips that the model makes of held-out prompts, none of them chosen.
 *
 *     npx tsx scripts/nano-sheet.ts [DIR]
 */
import { join } from "node:path";
import { captionOf } from "../src/data/shapes/caption.ts";
import { loadPipeline } from "../src/pipeline/pipeline.ts";
import { generatedClip } from "./generated-clip.ts";
import { heldOutScenes, shapesOf } from "./recipe-scenes.ts";
import { type Cell, drawSheet } from "./sheet.ts";
import { root } from "./source-files.ts";

const CLIPS = 24;
/** Little guidance suits a model that has hardly any doubt about colours. */
const GUIDANCE = 2;
const sceneAt = heldOutScenes(shapesOf(join(root, "recipes/nano.yaml")), 31);
const pipeline = await loadPipeline(process.argv[2]);
const cells: Cell[] = [];
for (let index = 0; index < CLIPS; index++) {
  const scene = sceneAt(index);
  const label = captionOf(scene, { seed: 5, index });
  const { rgb } = await generatedClip(pipeline, { prompt: label, seed: index, guidance: GUIDANCE });
  cells.push({ rgb, label });
}
await pipeline.close();
const file = join(root, "docs/images/nano.png");
await drawSheet(file, cells, { columns: 2, side: 64, shown: [0, 3, 6, 9, 12, 16] });
console.log(file);
