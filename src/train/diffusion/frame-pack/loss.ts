/** @file The training loss of a packed row, and how much each sample of it counts. */
// n samples of a row, F_i latent frames, H_i and W_i latent height and width of each
import { ConfigError } from "../../../errors.ts";
import { concat } from "../../../graph/functions.ts";
import type { Tensor } from "../../../graph/tensor.ts";
import type { TransformerConfig } from "../../../models/transformer/config.ts";
import type { Scope } from "../../../nn/scope.ts";
import { type DiffusionLoss, type Mixture, noisyLatents, velocityError } from "../loss.ts";
import { padFront } from "../temporal-padding.ts";
import type { RowLayout } from "./layout.ts";
import { type PackedConditions, predictPacked } from "./transformer.ts";

/** Clean latents, noise and rates of a row. */
export type PackedMixture = {
  /** Clean scaled latents of every sample, `[1, F_i, C, H_i, W_i]` */
  readonly latents: readonly Tensor[];
  /** Noise; of the shape the latents have once their first frame is repeated for temporal patches */
  readonly noise: readonly Tensor[];
  /** `[n]` each, as in `Mixture` */
  readonly signal: Tensor;
  readonly sigma: Tensor;
  /** What each sample counts, `[n]`, from `lossWeights` */
  readonly weights: Tensor;
};

/**
 * Σ weight · mean squared error of the velocity over the samples of a row. The losses, and so the gradients, of all rows
 * of all ranks ADD UP to those of the step; they are not to be averaged again.
 */
export function packedLoss(
  p: Scope,
  x: PackedMixture & PackedConditions,
  config: TransformerConfig,
  layout: RowLayout,
): DiffusionLoss {
  const mixtures = packedMixtures(x, config);
  const predicted = predictPacked(p, mixtures.map(noisyLatents), x, config, layout);
  return packedError(predicted, mixtures, x.weights);
}

/** The mixture of every sample, its first frame repeated for temporal patches. */
export function packedMixtures(
  { latents, noise, signal, sigma }: Omit<PackedMixture, "weights">,
  { patchT }: TransformerConfig,
): Mixture[] {
  const own = (rates: Tensor, i: number) => rates.slice(0, i, i + 1);
  return latents.map((clean, i) => ({
    latents: padFront(clean, patchT),
    noise: noise[i],
    signal: own(signal, i),
    sigma: own(sigma, i),
  }));
}

/** The loss of a row from the velocities that were predicted for its samples. */
export function packedError(
  predicted: readonly Tensor[],
  mixtures: readonly Mixture[],
  weights: Tensor,
): DiffusionLoss {
  const perSample = concat(
    predicted.map((velocity, i) => velocityError(velocity, mixtures[i])),
    0,
  );
  return { loss: perSample.mul(weights).sum([0]), perSample };
}

/**
 * What each sample of a step counts, for the samples of all rows of all ranks: "per-sample" makes the step's loss the
 * mean over samples, as without packing; "per-token" the mean over tokens, where long clips count for more.
 * `videoTokens` are the tokens of each sample without its text.
 * @throws ConfigError when there are no samples
 */
export function lossWeights(
  videoTokens: readonly number[],
  normalization: "per-sample" | "per-token" = "per-sample",
): Float32Array {
  if (videoTokens.length === 0)
    throw new ConfigError("a step without samples has no loss; pack at least one");
  if (normalization === "per-sample")
    return new Float32Array(videoTokens.length).fill(1 / videoTokens.length);
  const total = videoTokens.reduce((a, b) => a + b, 0);
  return Float32Array.from(videoTokens, (tokens) => tokens / total);
}
