/** @file Draws docs/images/shapes.png: clips of the shapes data set, one a row, with what they would be captioned. */
import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import sharp from "sharp";
import { captionOf } from "../src/data/shapes/caption.ts";
import { renderScene } from "../src/data/shapes/render.ts";
import { drawScene } from "../src/data/shapes/scene.ts";
import { root } from "./source-files.ts";

const SEED = 7;
const ROWS = 8;
const COLUMNS = 2;
const SIDE = 72;
const SHOWN = [0, 3, 6, 9, 12, 16];
const GAP = 4;
const LABEL = 18;

const cellWidth = SHOWN.length * (SIDE + GAP) - GAP;
const cellHeight = SIDE + LABEL;
const width = COLUMNS * (cellWidth + 4 * GAP);
const height = ROWS * (cellHeight + GAP);
const frameBytes = SIDE * SIDE * 3;

const cells = Array.from({ length: ROWS * COLUMNS }, (_, index) => {
  const scene = drawScene({ seed: SEED, index, split: "all", twoObjects: 0.25, camera: 0.2 });
  const clip = renderScene(scene, { width: SIDE, height: SIDE, frames: 17 });
  const left = 2 * GAP + (index % COLUMNS) * (cellWidth + 4 * GAP);
  const top = GAP + Math.floor(index / COLUMNS) * (cellHeight + GAP);
  const frames = SHOWN.map((frame, i) => ({
    input: Buffer.from(clip.subarray(frame * frameBytes, (frame + 1) * frameBytes)),
    raw: { width: SIDE, height: SIDE, channels: 3 as const },
    left: left + i * (SIDE + GAP),
    top,
  }));
  const label = captionOf(scene, { seed: SEED, index });
  // A letter is about 0.61 of the font's size wide.
  const fontSize = Math.min(10, cellWidth / (0.61 * label.length)).toFixed(1);
  return { frames, text: `<text x="${left}" y="${top + SIDE + 12}" font-size="${fontSize}">${label}</text>` };
});

const labels = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">
<g font-family="DejaVu Sans, Helvetica, Arial, sans-serif" fill="#333">
${cells.map(({ text }) => text).join("\n")}
</g></svg>`;

const file = join(root, "docs/images/shapes.png");
mkdirSync(dirname(file), { recursive: true });
await sharp({ create: { width, height, channels: 3, background: "#ffffff" } })
  .composite([...cells.flatMap(({ frames }) => frames), { input: Buffer.from(labels), left: 0, top: 0 }])
  .png({ compressionLevel: 9, palette: true, quality: 90 })
  .toFile(file);
console.log(file);
