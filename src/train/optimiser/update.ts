/** @file The update of all weights as one graph: gradients scaled and clipped, AdamW or Muon, running averages of weights. */
import { minimum, reciprocal, sqrt } from "../../graph/functions.ts";
import type { Shape } from "../../graph/shape.ts";
import { input, type Tensor } from "../../graph/tensor.ts";
import { type AdamWSettings, adamW, gradientShares, type Paces } from "./adamw.ts";
import { muon, takesMuon } from "./muon.ts";

export type UpdateSettings = {
  readonly adamW: AdamWSettings;
  /** Whether Muon moves the matrices inside the model, with the rate, decay and `beta1` of `adamW`. */
  readonly muon?: boolean;
  /** Gradients whose norm over all weights exceeds this are scaled down to it; null leaves them. */
  readonly clip: number | null;
  /** Whether an exponential moving average of the weights is kept. */
  readonly average: boolean;
};

/** What one weight has beside it: names of the tensors of a training state, and prefixes of inputs and outputs here. */
export const roles = ["weight", "mean", "square", "average"] as const;
export type Role = (typeof roles)[number];

/** Roles that a run with such settings keeps. */
export function rolesOf({ average }: Pick<UpdateSettings, "average">): readonly Role[] {
  return average ? roles : roles.slice(0, 3);
}

/** Inputs of the update graph beside the tensors by role: scalars of shape []. */
export const scalarInputs = ["rate", "plainRate", "floor", "keep", "averageDecay", "share"] as const;

/**
 * Outputs of one update: `<role>/<key>` for every weight and role, and `norm`, the norm of the averaged gradients before
 * clipping. Inputs are the same names, `gradient/<key>` summed over micro-batches, and the scalars: `share` is
 * one over the number of micro-batches, `averageDecay` what the moving average keeps.
 */
export function updateGraph(
  shapes: ReadonlyMap<string, Shape>,
  settings: UpdateSettings,
): Record<string, Tensor> {
  const scalars = Object.fromEntries(scalarInputs.map((name) => [name, input(name, [])]));
  const keys = [...shapes.keys()];
  const gradients = keys.map((key) => input(`gradient/${key}`, shapes.get(key)!));
  const norm = globalNorm(gradients).mul(scalars.share);
  const factor = settings.clip === null ? scalars.share : scalars.share.mul(clipFactor(norm, settings.clip));
  const shares = gradientShares(factor, settings.adamW);
  const outputs: Record<string, Tensor> = { norm };
  const inputs = keys.map((key, i) => {
    const at = (role: Role) => input(`${role}/${key}`, shapes.get(key)!);
    const state = { weight: at("weight"), mean: at("mean"), square: at("square") };
    return { key, state, average: at("average"), gradient: gradients[i] };
  });
  const turned = inputs.filter(({ key }) => settings.muon === true && takesMuon(key, shapes.get(key)!));
  const moved = muon(turned, shares, scalars as Paces, settings.adamW);
  const byMuon = new Map(turned.map(({ key }, i) => [key, moved[i]]));
  for (const { key, state, average, gradient } of inputs) {
    const after = byMuon.get(key) ?? adamW(state, gradient, shares, scalars as Paces, settings.adamW);
    for (const role of ["weight", "mean", "square"] as const) outputs[`${role}/${key}`] = after[role];
    if (settings.average)
      outputs[`average/${key}`] = movingAverage(average, after.weight, scalars.averageDecay);
  }
  return outputs;
}

/** √ of the sum of squares over all tensors. */
export function globalNorm(tensors: readonly Tensor[]): Tensor {
  const squares = tensors.map((x) => x.mul(x).sum(x.shape.map((_, axis) => axis)));
  return sqrt(squares.reduce((sum, square) => sum.add(square)));
}

/** At most 1; the tiny addend keeps a norm of zero from dividing, as PyTorch's clipping does. */
function clipFactor(norm: Tensor, limit: number): Tensor {
  return minimum(reciprocal(norm.add(1e-6)).mul(limit), 1);
}

/** decay · average + (1 - decay) · weight */
function movingAverage(average: Tensor, weight: Tensor, decay: Tensor): Tensor {
  return weight.add(average.sub(weight).mul(decay));
}
