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
  /** Learning rate over 1 - beta1^t. */
  readonly rate: Tensor;
  /** Learning rate. */
  readonly plainRate: Tensor;
  /** 1 / √(1 - beta2^t) */
  readonly root: Tensor;
  /** 1 - learning rate · weight decay */
  readonly keep: Tensor;
};

/** One step for one weight. */
export function adamW(
  { weight, mean, square }: Moments,
  gradient: Tensor,
  paces: Paces,
  { beta1, beta2, eps }: AdamWSettings,
): Moments {
  const newMean = mean.mul(beta1).add(gradient.mul(1 - beta1));
  const newSquare = square.mul(beta2).add(gradient.mul(gradient).mul(1 - beta2));
  const step = newMean.mul(paces.rate).div(sqrt(newSquare).mul(paces.root).add(eps));
  return { weight: weight.mul(paces.keep).sub(step), mean: newMean, square: newSquare };
}

/** What the scalars of `Paces` are at the t-th step, counted from 1, at a learning rate. */
export function pacesAt(
  step: number,
  learningRate: number,
  { beta1, beta2, weightDecay }: AdamWSettings,
): Readonly<Record<keyof Paces, number>> {
  return {
    rate: learningRate / (1 - beta1 ** step),
    plainRate: learningRate,
    root: 1 / Math.sqrt(1 - beta2 ** step),
    keep: 1 - learningRate * weightDecay,
  };
}
