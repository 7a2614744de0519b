/** @file Fixed 3D sine-cosine positions, added to the tokens of CogVideoX-2b. */
import type { Grid } from "../grid.ts";

/** Positions are divided by these before the sines are taken (1.875 in space and 1 in time as released). */
export type Interpolation = { readonly spatial: number; readonly temporal: number };

/**
 * Rows `[textLength + tokens, width]`, float32: zeros for text, then for the token at (t, y, x) the concatenation of
 * time (width / 4 channels), x (3/8) and y (3/8); each axis holds its sines before its cosines.
 * Positions are divided in float32 and multiplied by the frequencies in float64, as the reference does.
 */
export function sincosRows(
  grid: Grid,
  textLength: number,
  width: number,
  scale: Interpolation,
): Float32Array {
  const time = axisTable(grid.frames, scale.temporal, width / 4);
  const y = axisTable(grid.height, scale.spatial, (3 * width) / 8);
  const x = axisTable(grid.width, scale.spatial, (3 * width) / 8);
  const rows = new Float32Array((textLength + grid.frames * grid.height * grid.width) * width);
  let at = textLength * width;
  for (let t = 0; t < grid.frames; t++)
    for (let j = 0; j < grid.height; j++)
      for (let i = 0; i < grid.width; i++)
        for (const row of [time[t], x[i], y[j]]) {
          rows.set(row, at);
          at += row.length;
        }
  return rows;
}

/** One row of `width` sines and cosines for each position 0..count-1. */
function axisTable(count: number, scale: number, width: number): Float64Array[] {
  const half = width / 2;
  return Array.from({ length: count }, (_, index) => {
    const position = Math.fround(index / Math.fround(scale));
    const row = new Float64Array(width);
    for (let i = 0; i < half; i++) {
      const angle = position / 10000 ** (i / half);
      row[i] = Math.sin(angle);
      row[half + i] = Math.cos(angle);
    }
    return row;
  });
}
