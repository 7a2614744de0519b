/** @file Muon as a graph: momentum whose matrices are made orthogonal before they move a weight (Jordan et al. 2024). */
// M matrices of one size, R rows, C columns, R <= C
import { concat, reciprocal, sqrt } from "../../graph/functions.ts";
import { type Shape, sizeOf } from "../../graph/shape.ts";
import { constant, type Tensor } from "../../graph/tensor.ts";
import type { AdamWSettings, GradientShares, Moments, Paces } from "./adamw.ts";

/** Coefficients of the odd polynomial a x + b x³ + c x⁵ that drives singular values towards 1; applied so often. */
const NEWTON_SCHULZ = { a: 3.4445, b: -4.775, c: 2.0315, times: 5 };

/** From so many columns a row, products of Gram matrices alone are less work: 17 R³ + 2 R² C against 5 R³ + 10 R² C. */
const WIDE = 1.5;

/** Makes steps as long as those of AdamW, so that both share a learning rate (Liu et al. 2025, section 2.2). */
const LIKE_ADAM = 0.2;

/** Matrices with fewer rows or columns have little to be made orthogonal. */
const LEAST_SIDE = 8;

/** Layers between a model and the world: their rows are words, pixels or latents, not directions of one space. */
const BORDERS = /(^|\.)(shared|relative_attention_bias|patch_embed|proj_out|conv_in|conv_out)\./;

/** Whether a weight is one that Muon moves: a matrix or kernel inside the model. All others take AdamW. */
export function takesMuon(key: string, shape: Shape): boolean {
  if (shape.length < 2 || BORDERS.test(key)) return false;
  return Math.min(shape[0], sizeOf(shape) / shape[0]) >= LEAST_SIDE;
}

/** A weight with its moments and its gradient. */
export type MuonInput = { readonly state: Moments; readonly gradient: Tensor };

/**
 * One step for weights `[O, ...]`, each taken as a matrix with O rows. Running squares are not used and stay, so that
 * a state is the same for every optimiser.
 */
export function muon(
  inputs: readonly MuonInput[],
  { inMean }: Pick<GradientShares, "inMean">,
  { plainRate, keep }: Paces,
  { beta1 }: Pick<AdamWSettings, "beta1">,
): Moments[] {
  const parts = inputs.map(({ gradient }) => gradient.mul(inMean));
  const means = inputs.map(({ state }, i) => state.mean.mul(beta1).add(parts[i]));
  // Nesterov's: where the mean will be if the gradient stays.
  const ahead = means.map((mean, i) => mean.mul(beta1).add(parts[i]));
  const directions = orthogonalised(ahead.map((x) => x.reshape([x.dim(0), -1])));
  return inputs.map(({ state: { weight, square } }, i) => {
    const { shape } = directions[i];
    const step = directions[i]
      .reshape(weight.shape)
      .mul(plainRate.mul(LIKE_ADAM * Math.sqrt(Math.max(...shape))));
    return { weight: weight.mul(keep).sub(step), mean: means[i], square };
  });
}

/**
 * The nearest semi-orthogonal matrix to each, roughly: singular values end between about 0.7 and 1.2. Matrices of one
 * size go together, since a model has dozens of them and each alone is little work.
 */
export function orthogonalised(matrices: readonly Tensor[]): Tensor[] {
  const wide = matrices.map((x) => (x.dim(0) > x.dim(1) ? x.transpose([1, 0]) : x));
  const bySize = new Map<string, number[]>();
  for (const [i, { shape }] of wide.entries())
    bySize.set(shape.join(), [...(bySize.get(shape.join()) ?? []), i]);
  const found: Tensor[] = [];
  for (const indices of bySize.values()) {
    const together = newtonSchulz(
      concat(
        indices.map((i) => wide[i].reshape([1, ...wide[i].shape])),
        0,
      ),
    );
    for (const [at, i] of indices.entries()) {
      const y = together.slice(0, at, at + 1).reshape(wide[i].shape);
      found[i] = wide[i] === matrices[i] ? y : y.transpose([1, 0]);
    }
  }
  return found;
}

function newtonSchulz(x: Tensor): Tensor {
  const norm = sqrt(x.mul(x).sum([1, 2], true)).add(1e-12);
  const start = x.mul(reciprocal(norm)); // [M, R, C]
  return x.dim(2) < WIDE * x.dim(1) ? stepByStep(start) : throughGram(start);
}

function stepByStep(x: Tensor): Tensor {
  let y = x;
  for (let i = 0; i < NEWTON_SCHULZ.times; i++) y = polynomial(y.matmul(y, { transB: true })).matmul(y);
  return y;
}

/** All steps are polynomials of x xᵀ: they are multiplied with each other first, and meet x at the end. */
function throughGram(x: Tensor): Tensor {
  let gram = x.matmul(x, { transB: true }); // [M, R, R]
  let all = polynomial(gram);
  let last = all;
  for (let i = 1; i < NEWTON_SCHULZ.times; i++) {
    gram = last.matmul(gram.matmul(last)); // of what x has become
    last = polynomial(gram);
    all = last.matmul(all);
  }
  return all.matmul(x);
}

/** a + b G + c G² of Gram matrices `[M, R, R]`. */
function polynomial(gram: Tensor): Tensor {
  const { a, b, c } = NEWTON_SCHULZ;
  return gram
    .mul(b)
    .add(gram.matmul(gram).mul(c))
    .add(identity(gram.dim(1), a));
}

function identity(size: number, value: number): Tensor {
  const data = new Float32Array(size * size);
  for (let i = 0; i < size; i++) data[i * (size + 1)] = value;
  return constant(data, [size, size]);
}
