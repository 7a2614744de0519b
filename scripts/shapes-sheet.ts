/** @file Draws docs/images/shapes.png: clips of the shapes data set, with what they would be captioned. */
import { join } from "node:path";
import { captionOf } from "../src/data/shapes/caption.ts";
import { renderScene } from "../src/data/shapes/render.ts";
import { drawScene } from "../src/data/shapes/scene.ts";
import { drawSheet } from "./sheet.ts";
import { root } from "./source-files.ts";

const SEED = 7;
const SIDE = 72;

const cells = Array.from({ length: 16 }, (_, index) => {
  const scene = drawScene({ seed: SEED, index, split: "all", twoObjects: 0.25, camera: 0.2 });
  const rgb = renderScene(scene, { width: SIDE, height: SIDE, frames: 17 });
  return { rgb, label: captionOf(scene, { seed: SEED, index }) };
});
const file = join(root, "docs/images/shapes.png");
await drawSheet(file, cells, { columns: 2, side: SIDE, shown: [0, 3, 6, 9, 12, 16] });
console.log(file);
