/** @file Convolution kernels brought into the form the VAE convolves with. */
// O output and I input channels, b channels per block, K taps in space, k taps in time
import { pad } from "../../graph/functions.ts";
import { constant, type Tensor } from "../../graph/tensor.ts";
import { paddedChannels } from "./frames.ts";

/** A matrix of a filter, row by row. */
export type Matrix = readonly (readonly number[])[];

/**
 * Minimal filtering over time (Winograd 1980; Lavin and Gray 2016): n outputs of a filter of 3 taps from m = n + 2
 * products instead of 3n. Frames are mixed by `input` (m x (n + 2)), kernels by `kernel` (m x 3), products by
 * `output` (n x m).
 */
export type FastFilter = { readonly input: Matrix; readonly kernel: Matrix; readonly output: Matrix };

const third = 4 / 3;

/** The filter for two frames. */
const two: FastFilter = {
  input: [
    [1, 0, -1, 0],
    [0, 1, 1, 0],
    [0, -1, 1, 0],
    [0, -1, 0, 1],
  ],
  kernel: [
    [1, 0, 0],
    [0.5, 0.5, 0.5],
    [0.5, -0.5, 0.5],
    [0, 0, 1],
  ],
  output: [
    [1, 1, 1, 0],
    [0, 1, -1, 1],
  ],
};

/** The filter for four frames, from the points 0, 1, -1, 1/2, -2 and infinity. */
const four: FastFilter = {
  input: [
    [1, -1.5, -2, 1.5, 1, 0],
    [0, -third, third / 2, 2.5 * third, third, 0],
    [0, -third, 2.5 * third, -third / 2, -third, 0],
    [0, 3.2 * third, 1.6 * third, -3.2 * third, -1.6 * third, 0],
    [0, 0.2 * third, -0.4 * third, -0.2 * third, 0.4 * third, 0],
    [0, 1, -1.5, -2, 1.5, 1],
  ],
  kernel: [
    [1, 0, 0],
    [0.25, 0.25, 0.25],
    [0.25, -0.25, 0.25],
    [0.5, 0.25, 0.125],
    [0.125, -0.25, 0.5],
    [0, 0, 1],
  ],
  output: [
    [1, 1, 1, 1, 1, 0],
    [0, 1, -1, 0.5, -2, 0],
    [0, 1, 1, 0.25, 4, 0],
    [0, 1, -1, 0.125, -8, 1],
  ],
};

/** Filters by the number of frames they make. */
export const fastFilters: Readonly<Record<number, FastFilter>> = {
  2: two,
  4: four,
  8: repeated(four, 2),
  16: repeated(four, 4),
};

/** A filter for frames that follow one another, several times over, so that many small frames are one piece of work. */
function repeated({ input, kernel, output }: FastFilter, times: number): FastFilter {
  const [frames, products] = [output.length, input.length];
  const blocks = Array.from({ length: times }, (_, i) => i);
  const zeros = (count: number): number[] => Array(count).fill(0);
  return {
    input: blocks.flatMap((i) =>
      input.map((row) => [...zeros(frames * i), ...row, ...zeros(frames * (times - 1 - i))]),
    ),
    kernel: blocks.flatMap(() => kernel),
    output: blocks.flatMap((i) =>
      output.map((row) => [...zeros(products * i), ...row, ...zeros(products * (times - 1 - i))]),
    ),
  };
}

/** A small float matrix as a constant. */
export function matrix(rows: Matrix): Tensor {
  return constant(Float32Array.from(rows.flat()), [rows.length, rows[0].length]);
}

/**
 * Taps first, channels in blocks: a kernel `[O, I, k, kh, kw]` to `[k, O · I · K]`, where each row lies in memory as
 * `[O/b, I/b, K, b (in), b (out)]`. Channels are filled up with zeros to whole blocks.
 */
export function tapRows(kernel: Tensor, block: number): Tensor {
  const [out, inner, taps, height, width] = kernel.shape;
  const [O, I] = [paddedChannels(out, block), paddedChannels(inner, block)];
  const padded =
    O === out && I === inner ? kernel : pad(kernel, [0, 0, 0, 0, 0], [O - out, I - inner, 0, 0, 0]);
  const K = height * width;
  return padded
    .reshape([O / block, block, I * taps * K])
    .transpose([0, 2, 1])
    .reshape([O / block, I / block, block, taps, K, block])
    .transpose([3, 0, 1, 4, 2, 5])
    .reshape([taps, O * I * K]);
}

/** A bias `[O]` filled up with zeros to whole blocks. */
export function paddedBias(bias: Tensor, block: number): Tensor {
  const missing = paddedChannels(bias.dim(0), block) - bias.dim(0);
  return missing === 0 ? bias : pad(bias, [0], [missing]);
}
