/** @file The causal 3-D convolution: what a frame becomes depends on frames before it, never on later ones. */
// n frames of a group, O output and I input channels, H and W height and width, m products of a fast filter
import { after, concat, conv } from "../../graph/functions.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { layer, type Scope } from "../../nn/scope.ts";
import { type Clip, paddedChannels } from "./frames.ts";
import { type FastFilter, fastFilters, type Matrix, matrix, paddedBias, tapRows } from "./kernels.ts";

/** The two frames before a chunk, as one convolution has seen them: `[2 · batch, C, H, W]` in the clip's layout. */
export type ConvCache = Tensor;

/**
 * The caches of a chunk: what the chunk before left, and what this one leaves, by the path of the convolution.
 * `before` is null for the first chunk of a clip; `keep` tells whether anybody will need `after`.
 */
export type Caches = {
  readonly before: ((path: string, channels: number, height: number, width: number) => ConvCache) | null;
  readonly after: Map<string, ConvCache>;
  readonly keep: boolean;
};

/** What is done to a group right before it is convolved; normalisation and activation come this way. */
export type Prepare = (group: Tensor, index: number) => Tensor;

const BORDER = { before: [1, 1], after: [1, 1] };

/**
 * A 3x3x3 convolution over time and space of `clip` to `out` channels; declares `conv.weight [O, I, 3, 3, 3]` and
 * `conv.bias [O]`. Two frames precede the clip: those of the cache, or its first frame twice.
 * @param prepare applied to every group when its turn comes, so that only one prepared group is alive
 * @param residual added to the result, in the same groups
 */
export const causalConv = layer(
  (p: Scope, clip: Clip, out: number, caches: Caches, prepare: Prepare = (x) => x, residual?: Clip): Clip => {
    const kernels = kernelsOf(p.at("conv"), clip, out);
    const [, channels, height, width] = clip.groups[0].shape;
    let before: Before = caches.before?.(p.path, channels, height, width) ?? null;
    const groups: Tensor[] = [];
    for (const [i, group] of clip.groups.entries()) {
      const last = groups.at(-1);
      const x = prepare(last === undefined ? group : after(group, last), i);
      const left = lastTwo(x, before, clip.batch);
      // With the frames for the next group taken first, this one is free as soon as it is mixed.
      const isLast = i === clip.groups.length - 1 && !caches.keep;
      const y = convolveGroup(isLast ? x : after(x, left), before, kernels, clip);
      groups.push(residual === undefined ? y : residual.groups[i].add(y));
      before = left;
    }
    if (caches.keep) caches.after.set(p.path, before!);
    return { ...clip, groups, channels: out };
  },
);

/** The two frames before a group, or null where the group begins the clip and its first frame stands in. */
type Before = ConvCache | null;

/** Kernel rows `[3, O · I · 9]` and bias of one convolution. */
type Kernels = { readonly rows: Tensor; readonly bias: Tensor; readonly out: number; readonly inner: number };

function kernelsOf(p: Scope, { groups, channels, block }: Clip, out: number): Kernels {
  const rows = tapRows(p.param("weight", [out, channels, 3, 3, 3]), block);
  const bias = paddedBias(p.param("bias", [out]), block);
  return { rows, bias, out: paddedChannels(out, block), inner: groups[0].dim(1) };
}

function convolveGroup(x: Tensor, before: Before, kernels: Kernels, { block, batch }: Clip): Tensor {
  const frames = x.dim(0) / batch;
  if (frames === 1 && before === null) return standing(x, kernels, block);
  if (frames === 1 || batch > 1) return direct(x, before, kernels, block, batch);
  return filtered(x, before, fastFilters[frames], kernels, block);
}

/** First frames of clips: all three taps see the same frame, so their kernels add up. */
function standing(x: Tensor, { rows, bias, out, inner }: Kernels, block: number): Tensor {
  const kernel = rows.sum([0]).reshape([out, inner, 3, 3]);
  return conv(x, kernel, bias, { ...BORDER, block });
}

/** Three convolutions, of every frame and the two before it, as one over the channels of all three. */
function direct(
  x: Tensor,
  before: Before,
  { rows, bias, out, inner }: Kernels,
  block: number,
  batch: number,
): Tensor {
  const first = x.slice(0, 0, batch);
  const seen = concat(before === null ? [first, first, x] : [before, x], 0);
  const stacked = concat(
    [0, 1, 2].map((tap) => seen.slice(0, tap * batch, tap * batch + x.dim(0))),
    1,
  );
  const kernel = rows
    .reshape([3, out / block, -1])
    .transpose([1, 0, 2])
    .reshape([out, 3 * inner, 3, 3]);
  return conv(stacked, kernel, bias, { ...BORDER, block });
}

/** A group by minimal filtering: mix frames, convolve every mix with its kernel, mix the products. */
function filtered(
  x: Tensor,
  before: Tensor | null,
  filter: FastFilter,
  kernels: Kernels,
  block: number,
): Tensor {
  const { rows, bias, out, inner } = kernels;
  const [frames, , height, width] = x.shape;
  const products = filter.kernel.length;
  const flat = x.reshape([frames, -1]);
  const input = before === null ? withFirstTwice(filter.input) : filter.input;
  const seen = before === null ? flat : concat([before.reshape([2, -1]), flat], 0);
  const mixes = matrix(input)
    .matmul(seen)
    .reshape([1, products * inner, height, width]);
  const mixedKernels = matrix(filter.kernel)
    .matmul(rows)
    .reshape([products * out, inner, 3, 3]);
  const biases = matrix(carriers(filter))
    .matmul(bias.reshape([1, out]))
    .reshape([products * out]);
  const convolved = conv(mixes, mixedKernels, biases, { ...BORDER, block, groups: products });
  return matrix(filter.output)
    .matmul(convolved.reshape([products, -1]))
    .reshape([frames, out, height, width]);
}

/** A column that picks the products which carry the bias: together they enter every output once. */
function carriers({ kernel }: FastFilter): Matrix {
  return kernel.map((taps) => [taps[0] === taps[1] && taps[1] === taps[2] ? 1 : 0]);
}

/** The input matrix for a group that begins a clip: its first frame stands for the two frames before it too. */
function withFirstTwice(input: Matrix): Matrix {
  return input.map(([a, b, c, ...rest]) => [a + b + c, ...rest]);
}

function lastTwo(x: Tensor, before: Before, batch: number): Tensor {
  const count = x.dim(0);
  if (count >= 2 * batch) return count === 2 * batch ? x : x.slice(0, count - 2 * batch);
  return concat([before === null ? x : before.slice(0, batch), x], 0);
}
