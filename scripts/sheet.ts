/** @file Draws clips as one picture: a clip a cell, some of its frames side by side and a line of text below. */
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import sharp from "sharp";

/** A clip of square frames and what stands below it. */
export type Cell = {
  /** RGB bytes `[T, S, S, 3]` */
  readonly rgb: Uint8Array;
  readonly label: string;
};

export type SheetLayout = {
  readonly columns: number;
  /** S, in pixels. */
  readonly side: number;
  /** Which frames are shown. */
  readonly shown: readonly number[];
};

const GAP = 4;
const LABEL = 18;

/** Writes the cells, row by row, as a PNG file. */
export async function drawSheet(
  file: string,
  cells: readonly Cell[],
  { columns, side, shown }: SheetLayout,
): Promise<void> {
  const cellWidth = shown.length * (side + GAP) - GAP;
  const cellHeight = side + LABEL;
  const width = columns * (cellWidth + 4 * GAP);
  const height = Math.ceil(cells.length / columns) * (cellHeight + GAP);
  const frameBytes = side * side * 3;
  const drawn = cells.map(({ rgb, label }, index) => {
    const left = 2 * GAP + (index % columns) * (cellWidth + 4 * GAP);
    const top = GAP + Math.floor(index / columns) * (cellHeight + GAP);
    const frames = shown.map((frame, i) => ({
      input: Buffer.from(rgb.subarray(frame * frameBytes, (frame + 1) * frameBytes)),
      raw: { width: side, height: side, channels: 3 as const },
      left: left + i * (side + GAP),
      top,
    }));
    // A letter is about 0.61 of the font's size wide.
    const fontSize = Math.min(10, cellWidth / (0.61 * label.length)).toFixed(1);
    return {
      frames,
      text: `<text x="${left}" y="${top + side + 12}" font-size="${fontSize}">${label}</text>`,
    };
  });
  const labels = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">
<g font-family="DejaVu Sans, Helvetica, Arial, sans-serif" fill="#333">
${drawn.map(({ text }) => text).join("\n")}
</g></svg>`;
  mkdirSync(dirname(file), { recursive: true });
  await sharp({ create: { width, height, channels: 3, background: "#ffffff" } })
    .composite([...drawn.flatMap(({ frames }) => frames), { input: Buffer.from(labels), left: 0, top: 0 }])
    .png({ compressionLevel: 9, palette: true, quality: 90 })
    .toFile(file);
}
