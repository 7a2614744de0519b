/** @file Edges of pictures, as control videos for models that follow outlines. */
import type { PixelSize } from "../../media/frames.ts";

/**
 * Frames `[F, H, W, 3]` to white edges on black of the same layout: the length of Sobel's gradient in the channel where it
 * is longest, so that colours of one brightness have edges between them too. A step from 0 to 255 is 255.
 */
export function edgesOf(rgb: Uint8Array, size: PixelSize): Uint8Array {
  const frame = 3 * size.width * size.height;
  const edges = new Uint8Array(rgb.length);
  for (let start = 0; start < rgb.length; start += frame)
    edges.set(frameEdges(rgb.subarray(start, start + frame), size), start);
  return edges;
}

function frameEdges(rgb: Uint8Array, { width, height }: PixelSize): Uint8Array {
  const edges = new Uint8Array(rgb.length);
  const inside = (at: number, length: number) => Math.min(Math.max(at, 0), length - 1);
  for (let y = 0; y < height; y++) {
    const rows = [y - 1, y, y + 1].map((row) => inside(row, height) * width);
    for (let x = 0; x < width; x++) {
      const columns = [x - 1, x, x + 1].map((column) => inside(column, width));
      const strongest = Math.max(...[0, 1, 2].map((channel) => gradient(rgb, rows, columns, channel)));
      edges.fill(Math.min(255, Math.round(strongest)), 3 * (y * width + x), 3 * (y * width + x + 1));
    }
  }
  return edges;
}

/** Sobel's gradient at the middle of three rows and columns, a quarter of its usual length. */
function gradient(
  rgb: Uint8Array,
  [above, here, below]: readonly number[],
  [left, middle, right]: readonly number[],
  channel: number,
): number {
  const at = (row: number, column: number) => rgb[3 * (row + column) + channel];
  const ofRow = (row: number) => at(row, left) + 2 * at(row, middle) + at(row, right);
  const ofColumn = (column: number) => at(above, column) + 2 * at(here, column) + at(below, column);
  const [across, down] = [ofColumn(right) - ofColumn(left), ofRow(below) - ofRow(above)];
  return Math.hypot(across, down) / 4;
}
