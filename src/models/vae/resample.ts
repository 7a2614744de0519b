/** @file Halving and doubling of resolution between the levels of the VAE. */
// n frames of a group, C channels, H and W height and width, b channels per block
import { concat, conv } from "../../graph/functions.ts";
import { sizeOf } from "../../graph/shape.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { layer, type Scope } from "../../nn/scope.ts";
import { type Clip, framesOf, mapGroups, regroup } from "./frames.ts";
import { type Matrix, matrix, paddedBias, tapRows } from "./kernels.ts";

/**
 * Halves height and width by a 3x3 convolution of stride 2 that is padded on the right and at the bottom only, and
 * time, where asked for, by averaging pairs of frames before it; declares `conv`.
 */
export const downsample = layer((p, clip: Clip, time: boolean): Clip => {
  const shorter = time ? halveTime(clip) : clip;
  const { channels, block } = clip;
  const kernel = tapRows(
    p.at("conv").param("weight", [channels, channels, 3, 3]).reshape([channels, channels, 1, 3, 3]),
    block,
  );
  const bias = paddedBias(p.at("conv").param("bias", [channels]), block);
  const window = { strides: [2, 2], after: [1, 1], block };
  return mapGroups(shorter, (x) => conv(x, kernel.reshape([x.dim(1), x.dim(1), 3, 3]), bias, window));
});

/** Averages pairs of frames; where their number is odd the first one stays as it is. */
function halveTime(clip: Clip): Clip {
  if (framesOf(clip) === 1) return clip;
  const halved = mapGroups(regroup(clip), (x) => {
    const [n, ...size] = x.shape;
    return n === clip.batch
      ? x
      : x
          .reshape([n / clip.batch / 2, 2, clip.batch * size[0] * size[1] * size[2]])
          .mean([1])
          .reshape([n / 2, ...size]);
  });
  return regroup(halved);
}

/**
 * Doubles height and width by nearest neighbour, and time where asked for, with a 3x3 convolution behind; declares
 * `conv`. A 3x3 window over doubled pixels sees only 2x2 different ones, so each of the four pixels made from one is a
 * 2x2 convolution of the small picture with sums of the kernel's taps; doubled frames are convolved once.
 */
export const upsample = layer((p, clip: Clip, time: boolean): Clip => {
  const phases = upsamplingPhases(p.at("conv"), clip);
  const small = regroup(clip, 4 * sizeOf(clip.groups[0].shape.slice(1)));
  const larger = mapGroups(small, (x) => interleave(phases, x, clip.block));
  return time && framesOf(clip) > 1 ? doubleTime(larger) : larger;
});

/** How the three taps of a row fall on the two small pixels that an even (0) or odd (1) large pixel sees. */
const tapsOnPixels: readonly Matrix[] = [
  [
    [1, 0, 0],
    [0, 1, 1],
  ],
  [
    [1, 1, 0],
    [0, 0, 1],
  ],
];

/** One of the four pixels made from one: its 2x2 kernel and on which side the window hangs over the border. */
type Phase = {
  readonly kernel: Tensor;
  readonly bias: Tensor;
  readonly before: readonly number[];
  readonly after: readonly number[];
};

function upsamplingPhases(p: Scope, { groups, channels, block }: Clip): readonly (readonly Phase[])[] {
  const padded = groups[0].dim(1);
  const rows = tapRows(
    p.param("weight", [channels, channels, 3, 3]).reshape([channels, channels, 1, 3, 3]),
    block,
  );
  const bias = paddedBias(p.param("bias", [channels]), block);
  return [0, 1].map((y) =>
    [0, 1].map((x) => ({
      kernel: mixTaps(kronecker(tapsOnPixels[y], tapsOnPixels[x]), rows, block).reshape([
        padded,
        padded,
        2,
        2,
      ]),
      bias,
      before: [1 - y, 1 - x],
      after: [y, x],
    })),
  );
}

/** Sums of a kernel's nine taps, four for each pair of channel blocks. */
function mixTaps(mix: Matrix, rows: Tensor, block: number): Tensor {
  if (block > 1) return matrix(mix).matmul(rows.reshape([-1, 9, block * block]));
  return rows.reshape([-1, 9]).matmul(matrix(mix), { transB: true });
}

/** Every product of an entry of `a` with one of `b`: rows (i, k), columns (j, l). */
function kronecker(a: Matrix, b: Matrix): Matrix {
  return a.flatMap((rowA) => b.map((rowB) => rowA.flatMap((x) => rowB.map((y) => x * y))));
}

function interleave(phases: readonly (readonly Phase[])[], x: Tensor, block: number): Tensor {
  const [n, channels, height, width] = x.shape;
  const lines = n * (channels / block) * height;
  const rows = phases.map((columns) => {
    const pixels = columns.map(({ kernel, bias, before, after }) =>
      conv(x, kernel, bias, { before, after, block }).reshape([lines, width, 1, block]),
    );
    return concat(pixels, 2).reshape([lines, 1, 2 * width * block]);
  });
  return concat(rows, 1).reshape([n, channels, 2 * height, 2 * width]);
}

/** Every frame twice; where their number is odd the first one stays alone. */
function doubleTime(clip: Clip): Clip {
  const odd = framesOf(clip) % 2 === 1;
  const groups = clip.groups.flatMap((x, i) => {
    if (odd && i === 0) return [x];
    return halves(x, clip.batch).map((half) => {
      const [n, ...size] = half.shape;
      const frames = half.reshape([n / clip.batch, 1, clip.batch * size[0] * size[1] * size[2]]);
      return concat([frames, frames], 1).reshape([2 * n, ...size]);
    });
  });
  return regroup({ ...clip, groups });
}

/** A group as two of half its size, so that doubling makes no group larger. */
function halves(x: Tensor, batch: number): Tensor[] {
  const half = x.dim(0) / 2;
  return batch === 1 && half > 1 ? [x.slice(0, 0, half), x.slice(0, half)] : [x];
}
