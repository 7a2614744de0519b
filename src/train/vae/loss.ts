/** @file What the VAE is trained to make small: errors of its pictures, and how far its latents are from normal. */
// T frames, F latent frames, L latent channels, H and W height and width, h and w latent height and width
import { ConfigError } from "../../errors.ts";
import { abs, exp } from "../../graph/functions.ts";
import { type Shape, sameShape, showShape } from "../../graph/shape.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { decodedFrames } from "../../models/vae/chunks.ts";
import { spatialRatio, temporalRatio, type VaeConfig } from "../../models/vae/config.ts";
import type { Scope } from "../../nn/scope.ts";
import { decodeClips, encodeClips, latentShape, type Moments, sampleLatents } from "./codec.ts";

/** What each term of the loss counts; a term of weight 0 is not built. */
export type VaeLossWeights = {
  /** Mean of |x - x̂| over all values of the clip. */
  readonly l1: number;
  /** Mean of (x - x̂)² over all values of the clip. */
  readonly l2: number;
  /** KL divergence from the standard normal, summed over the latents of a clip. */
  readonly kl: number;
  /** Perceptual distance of one frame; needs `VaeLossTerms.perceptual`. */
  readonly perceptual: number;
};

/**
 * Our choice: the weights of the released model are not known. Pixel errors are means and the divergence is a sum, so
 * that a larger clip is held closer to normal. Latent diffusion's 1e-6 is for errors that are summed as well; beside
 * means it is 100,000 times as strong, and a VAE trained with it kept backgrounds but never learned objects' colours.
 */
export const defaultVaeWeights: VaeLossWeights = { l1: 1, l2: 0, kl: 1e-8, perceptual: 0.1 };

/** Clips as graph inputs. */
export type VaeSample = {
  /**
   * Pixels `[T · B, 3, H, W]` of B clips in [-1, 1], the first frames of all of them first, T = 8k + 1; images are
   * clips with T = 1. Clips of few pixels that share a graph cost much less than one by one.
   */
  readonly clip: Tensor;
  /** Standard normal `[F · B, L, h, w]`. */
  readonly noise: Tensor;
  /** B, 1 if left out. */
  readonly batch?: number;
};

/** Terms that need more than the clip: each makes a scalar. */
export type VaeLossTerms = {
  /** Distance of the reconstruction from the clip, both `[T, 3, H, W]`; see `perceptualTerm`. */
  readonly perceptual?: (reconstruction: Tensor, clip: Tensor) => Tensor;
  /** The term against the discriminator, its weight and gate included; see `adversarialTerm`. */
  readonly adversarial?: (reconstruction: Tensor, supervised: Tensor, p: Scope) => Tensor;
};

/** Scalars as they are before their weights, except `adversarial`, which holds its weight and gate. */
export type VaeLossParts = {
  readonly l1: Tensor;
  readonly kl: Tensor;
  readonly l2?: Tensor;
  readonly perceptual?: Tensor;
  readonly adversarial?: Tensor;
};

export type VaeLoss = {
  /** The weighted sum, to be differentiated. */
  readonly loss: Tensor;
  readonly parts: VaeLossParts;
  /** Frames `[T, 3, H, W]` decoded from the sampled latents, not clamped. */
  readonly reconstruction: Tensor;
  readonly moments: Moments;
};

/**
 * Loss of the VAE on clips that go through a single graph: the mean of what they would give one by one.
 * Declares what `encoder` and `decoder` have, under the checkpoint's keys.
 * @throws ConfigError for a clip that is not 8k + 1 frames, sides that the VAE does not divide, or unfitting noise
 */
export function vaeLoss(
  p: Scope,
  { clip, noise, batch = 1 }: VaeSample,
  config: VaeConfig,
  weights: Partial<VaeLossWeights> = {},
  terms: VaeLossTerms = {},
): VaeLoss {
  checkSample(clip, noise, config, batch);
  const w = { ...defaultVaeWeights, ...weights };
  const moments = encodeClips(p, clip, config, batch);
  const reconstruction = decodeClips(p, sampleLatents(moments, noise), config, batch);
  const error = clip.sub(reconstruction);
  const l1 = abs(error).mean([0, 1, 2, 3]);
  const l2 = w.l2 === 0 ? undefined : error.mul(error).mean([0, 1, 2, 3]);
  const perceptual = w.perceptual === 0 ? undefined : terms.perceptual?.(reconstruction, clip);
  const kl = klDivergence(moments).mul(1 / batch);
  const supervised = [
    l1.mul(w.l1),
    ...(l2 === undefined ? [] : [l2.mul(w.l2)]),
    ...(perceptual === undefined ? [] : [perceptual.mul(w.perceptual)]),
  ].reduce((sum, term) => sum.add(term));
  const adversarial = terms.adversarial?.(reconstruction, supervised, p);
  const loss = supervised.add(kl.mul(w.kl));
  return {
    loss: adversarial === undefined ? loss : loss.add(adversarial),
    parts: { l1, kl, l2, perceptual, adversarial },
    reconstruction,
    moments,
  };
}

/**
 * ½ Σ (mean² + variance - 1 - log variance) over all latents of a clip: the divergence of the posterior from the
 * standard normal in nats. Of several clips, the sum.
 */
export function klDivergence({ mean, logVariance }: Moments): Tensor {
  const perValue = mean.mul(mean).add(exp(logVariance)).sub(logVariance).sub(1);
  return perValue.sum([0, 1, 2, 3]).mul(0.5);
}

/** Whether a clip `[T, 3, H, W]` comes back from the VAE in its own size. */
export function comesBack(clip: Shape, config: VaeConfig): boolean {
  const latents = latentShape(clip, config);
  const frames = decodedFrames(latents[0], config.temporalLevels);
  return latents.every((size) => Number.isInteger(size) && size > 0) && frames === clip[0];
}

/** What `comesBack` asks for, to be put into a sentence. */
export function clipRule(config: VaeConfig): string {
  const frames = `${2 * temporalRatio(config)}k + 1`;
  return `[${frames}, ${config.inChannels}, H, W] with sides that are multiples of ${spatialRatio(config)}`;
}

function checkSample(clip: Tensor, noise: Tensor, config: VaeConfig, batch: number): void {
  const [frames, ...size] = clip.shape;
  const single = [frames / batch, ...size];
  if (!comesBack(single, config))
    throw new ConfigError(
      `a clip to train the VAE on must be ${clipRule(config)}, so that as many frames come back, ` +
        `got ${showShape(single)}`,
    );
  const [latentFrames, ...latentSize] = latentShape(single, config);
  const expected = [latentFrames * batch, ...latentSize];
  if (!sameShape(noise.shape, expected))
    throw new ConfigError(
      `the noise for a clip ${showShape(clip.shape)} must be ${showShape(expected)} like its latents, ` +
        `got ${showShape(noise.shape)}`,
    );
}
