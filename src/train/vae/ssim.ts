/** @file Structural similarity of two planes (Wang et al. 2004, eq. 13). */
import { ConfigError } from "../../errors.ts";

const RADIUS = 5;
const DEVIATION = 1.5;
const K1 = 0.01;
const K2 = 0.03;

type PlaneSize = { readonly height: number; readonly width: number };

/**
 * Mean over all windows of 11 x 11 pixels inside of the picture, values row by row.
 * @throws ConfigError when no window fits
 */
export function ssimOfPlane(x: Float64Array, y: Float64Array, size: PlaneSize, range: number): number {
  const least = 2 * RADIUS + 1;
  if (size.height < least || size.width < least)
    throw new ConfigError(
      `SSIM needs pictures of at least ${least} x ${least} pixels, got ${size.width} x ${size.height}`,
    );
  const mean = (of: (i: number) => number) =>
    windowMeans(
      Float64Array.from(x, (_, i) => of(i)),
      size,
    );
  const [meanX, meanY] = [mean((i) => x[i]), mean((i) => y[i])];
  const [squareX, squareY, product] = [
    mean((i) => x[i] * x[i]),
    mean((i) => y[i] * y[i]),
    mean((i) => x[i] * y[i]),
  ];
  const [c1, c2] = [(K1 * range) ** 2, (K2 * range) ** 2];
  let sum = 0;
  for (let i = 0; i < meanX.length; i++) {
    const [mx, my] = [meanX[i], meanY[i]];
    const variances = squareX[i] - mx * mx + squareY[i] - my * my;
    const covariance = product[i] - mx * my;
    sum += ((2 * mx * my + c1) * (2 * covariance + c2)) / ((mx * mx + my * my + c1) * (variances + c2));
  }
  return sum / meanX.length;
}

/** Gaussian means of every window, rows first: `[height - 10, width - 10]`. */
function windowMeans(plane: Float64Array, { height, width }: PlaneSize): Float64Array {
  const [h, w] = [height - 2 * RADIUS, width - 2 * RADIUS];
  const rows = new Float64Array(height * w);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < w; x++)
      for (let k = 0; k < gaussian.length; k++) rows[y * w + x] += gaussian[k] * plane[y * width + x + k];
  const means = new Float64Array(h * w);
  for (let y = 0; y < h; y++)
    for (let k = 0; k < gaussian.length; k++)
      for (let x = 0; x < w; x++) means[y * w + x] += gaussian[k] * rows[(y + k) * w + x];
  return means;
}

const gaussian = normalised(
  Array.from({ length: 2 * RADIUS + 1 }, (_, i) => Math.exp(-((i - RADIUS) ** 2) / (2 * DEVIATION ** 2))),
);

function normalised(weights: readonly number[]): readonly number[] {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}
