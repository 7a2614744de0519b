/** @file AdamW as a graph: Adam with decoupled weight decay (Loshchilov & Hutter 2019). */
import { sqrt } from "../../graph/functions.ts";
import type { Tensor } from "../../graph/tensor.ts";

/** Constants of the optimiser. */
export type AdamWSettings = {
  /** Decay of the running mean of gradients, 0 to 1. */
  readonly beta1: number;
  /** Decay of the running mean of squared gradients, 0 to 1. */
  readonly beta2: number;
  readonly eps: number;
  /** Share of a weight, times the learning rate, that every step takes away. */
  readonly weightDecay: number;
};

/** As CogVideoX was trained (Yang et al. 2024, table 6). */
export const defaultAdamW: AdamWSettings = { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 1e-4 };

/** A weight with the running means of its gradient and squared gradient, all of one shape. */
export type Moments = { readonly weight: Tensor; readonly mean: Tensor; readonly square: Tensor };

/** Numbers that change from step to step, as scalar tensors; see `pacesAt`. */
export type Paces = {
  /** Learning rate over 1 - beta1^t, times √(1 - beta2^t). */
  readonly rate: Tensor;
  /** Learning rate. */
  readonly plainRate: Tensor;
  /** eps · √(1 - beta2^t) */
  readonly floor: Tensor;
  /** 1 - learning rate · weight decay */
  readonly keep: Tensor;
};

/** Scalar tensors by which a gradient, and its square, go into the running means. */
export type GradientShares = { readonly inMean: Tensor; readonly inSquare: Tensor };

/** What they are for a gradient that is to be multiplied by `factor` first. */
export function gradientShares(
  factor: Tensor,
  { beta1, beta2 }: Pick<AdamWSettings, "beta1" | "beta2">,
): GradientShares {
  return { inMean: factor.mul(1 - beta1), inSquare: factor.mul(factor).mul(1 - beta2) };
}

/**
 * One step for one weight. It waits for memory, so that whatever is a scalar is multiplied with others before it meets
 * a weight: the bias corrections of mean and square, and the factor of the gradient.
 */
export function adamW(
  { weight, mean, square }: Moments,
  gradient: Tensor,
  { inMean, inSquare }: GradientShares,
  { rate, floor, keep }: Paces,
  { beta1, beta2 }: AdamWSettings,
): Moments {
  const newMean = mean.mul(beta1).add(gradient.mul(inMean));
  const newSquare = square.mul(beta2).add(gradient.mul(gradient).mul(inSquare));
  const step = newMean.mul(rate).div(sqrt(newSquare).add(floor));
  return { weight: weight.mul(keep).sub(step), mean: newMean, square: newSquare };
}

/** What the scalars of `Paces` are at the t-th step, counted from 1, at a learning rate. */
export function pacesAt(
  step: number,
  learningRate: number,
  { beta1, beta2, eps, weightDecay }: AdamWSettings,
): Readonly<Record<keyof Paces, number>> {
  const root = Math.sqrt(1 - beta2 ** step);
  return {
    rate: (learningRate * root) / (1 - beta1 ** step),
    plainRate: learningRate,
    floor: eps * root,
    keep: 1 - learningRate * weightDecay,
  };
}
