/** @file The training loss: noise in, the whole transformer, velocity out, as one graph. */
// B batch, F latent frames, C channels, H and W latent height and width, N video tokens, T text tokens, D width
import { concat } from "../../graph/functions.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { block, type Rotation, type Streams } from "../../models/transformer/block.ts";
import type { TransformerConfig } from "../../models/transformer/config.ts";
import { embed, head } from "../../models/transformer/transformer.ts";
import type { Scope } from "../../nn/scope.ts";
import { padFront } from "./temporal-padding.ts";

/** What the transformer takes beside the noisy latents; `rotation` and `positions` as `positionsFor` gives them. */
export type Conditions = {
  /** Features of the timestep, `[B, D]`, from `timestepFeatures` */
  readonly timestep: Tensor;
  /** Text encoder states, `[B, T, textDim]` */
  readonly text: Tensor;
  /** Conditioning latents behind the noisy ones on the channel axis, of as many frames as these, `[B, F, inChannels - C, H, W]` */
  readonly condition?: Tensor;
  /** Features of `ofs`, `[B, ofsDim]`, where the model has it */
  readonly ofs?: Tensor;
  /** Rows added to the joint sequence, `[1, T + N, D]`, where positions are fixed and added */
  readonly positions?: Tensor;
  /** Rotary rows `[1, T + N, headDim / 2]`, where positions are rotations */
  readonly rotation?: Rotation;
};

/** Clean latents, the noise they are mixed with, and how much of either. */
export type Mixture = {
  /** Clean scaled latents x0, `[B, F, C, H, W]` */
  readonly latents: Tensor;
  /** Standard normal noise of the same shape, once the first frame of the latents is repeated for temporal patches */
  readonly noise: Tensor;
  /** Square root of alphaBar at the timestep of every sample, `[B]` */
  readonly signal: Tensor;
  /** Square root of 1 - alphaBar, `[B]` */
  readonly sigma: Tensor;
};

/** What each sample of a batch counts in its loss, `[B]`; all ones where it is left out. */
export type SampleWeights = { readonly weights?: Tensor };

/** A scalar to be differentiated, and what it is the mean of. */
export type DiffusionLoss = {
  readonly loss: Tensor;
  /** Mean squared error of the velocity of every sample, `[B]` */
  readonly perSample: Tensor;
};

/**
 * Mean squared error of the predicted velocity (Salimans & Ho 2022), averaged over each sample and then over the batch:
 * x_t = signal x0 + sigma noise, v = signal noise - sigma x0. It equals the error of the clean latents that follow from
 * the prediction, weighted by 1 / sigma². Where temporal patches do not come out even, the first frame of the latents is
 * repeated; noise, condition and positions are those of the longer clip. So a first frame that is seen stands in the longer
 * clip's first frame alone, as in the released models, and not in the repeated one behind it.
 */
export function diffusionLoss(
  p: Scope,
  x: Mixture & Conditions & SampleWeights,
  config: TransformerConfig,
): DiffusionLoss {
  const mixture = { ...x, latents: padFront(x.latents, config.patchT) };
  const predicted = predictVelocity(p, noisyLatents(mixture), x, config);
  const perSample = velocityError(predicted, mixture);
  return { loss: weightedMean(perSample, x.weights), perSample };
}

/** The mean over a batch of what its samples count, times their losses. */
export function weightedMean(perSample: Tensor, weights: Tensor | undefined): Tensor {
  return (weights === undefined ? perSample : perSample.mul(weights)).mean([0]);
}

/** x_t = signal x0 + sigma noise, `[B, F, C, H, W]`. */
export function noisyLatents({ latents, noise, signal, sigma }: Mixture): Tensor {
  return perSampleFactor(signal, latents).mul(latents).add(perSampleFactor(sigma, noise).mul(noise));
}

/** v = signal noise - sigma x0, `[B, F, C, H, W]`. */
export function velocityTarget({ latents, noise, signal, sigma }: Mixture): Tensor {
  return perSampleFactor(signal, noise).mul(noise).sub(perSampleFactor(sigma, latents).mul(latents));
}

/** Mean squared error of a predicted velocity in every sample, `[B]`. */
export function velocityError(predicted: Tensor, x: Mixture): Tensor {
  const difference = predicted.sub(velocityTarget(x));
  return difference.mul(difference).mean([1, 2, 3, 4]);
}

/** The transformer from noisy latents `[B, F, C, H, W]` to the velocity of the same shape. */
export function predictVelocity(p: Scope, noisy: Tensor, x: Conditions, config: TransformerConfig): Tensor {
  const latents = withCondition(noisy, x.condition);
  const [, frames, , height, width] = latents.shape;
  const { emb, ...embedded } = embed(p, { ...x, latents }, config, addedBy(x, config));
  let streams: Streams = embedded;
  for (let i = 0; i < config.layers; i++)
    streams = block(p.at("transformer_blocks", i), streams, emb, x.rotation ?? null, config);
  return head(p, streams.video, emb, config, { frames, height, width });
}

/** What is added to tokens: rows that are given, the model's own table, or nothing. */
export function addedBy(
  { positions }: Pick<Conditions, "positions">,
  config: TransformerConfig,
): "rows" | "learned" | "none" {
  if (positions !== undefined) return "rows";
  return config.learnedPositions ? "learned" : "none";
}

/** Noisy latents `[B, F, C, H, W]` with the conditioning behind them on the channel axis, where there is any. */
export function withCondition(noisy: Tensor, condition: Tensor | undefined): Tensor {
  return condition === undefined ? noisy : concat([noisy, condition], 2);
}

/** `[B]` so that it multiplies `[B, F, C, H, W]`. */
function perSampleFactor(factor: Tensor, like: Tensor): Tensor {
  return factor.reshape([like.dim(0), 1, 1, 1, 1]);
}
