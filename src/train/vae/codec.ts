/** @file The VAE over a whole clip in one graph, as training needs it: encode, sample, decode. */
// T frames, F latent frames, L latent channels, H and W height and width, h and w latent height and width
import { exp, maximum, minimum } from "../../graph/functions.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { causalConv } from "../../models/vae/causal-conv.ts";
import type { VaeConfig } from "../../models/vae/config.ts";
import { decoderFront, decoderHead, decoderLevel } from "../../models/vae/decoder.ts";
import { encoderHead, encoderLevel } from "../../models/vae/encoder.ts";
import { toClip } from "../../models/vae/frames.ts";
import { vaePass } from "../../models/vae/pass.ts";
import type { Pass } from "../../models/vae/resnet.ts";
import type { Scope } from "../../nn/scope.ts";

/** The posterior of a clip's latents, `[F, L, h, w]` each. */
export type Moments = {
  readonly mean: Tensor;
  /** Logarithm of the variance, in -30 to 20. */
  readonly logVariance: Tensor;
};

/** Where the reference clamps log-variances. */
const LOG_VARIANCE = { least: -30, most: 20 };

/** Convolutions over blocks of channels have no gradient. */
const BLOCK = 1;

/**
 * Frames `[T, 3, H, W]` in [-1, 1], T = 4k + 1, to the moments of F = k + 1 latents; declares what `encoder` has.
 * The whole clip is one chunk: group norms take their statistics over all of its frames, while the pipeline's encoder
 * takes them over each of its chunks.
 */
export function encodeClip(p: Scope, frames: Tensor, config: VaeConfig): Moments {
  const encoder = p.at("encoder");
  const pass = wholeClip(config, frames, null);
  let x = causalConv(encoder.at("conv_in"), toClip(frames, BLOCK), config.channels[0], pass.caches);
  for (let level = 0; level < config.channels.length; level++)
    x = encoderLevel(encoder, x, level, config, pass);
  const moments = encoderHead(encoder, x, config, pass);
  const logVariance = moments.slice(1, config.latentChannels);
  return {
    mean: moments.slice(1, 0, config.latentChannels),
    logVariance: minimum(maximum(logVariance, LOG_VARIANCE.least), LOG_VARIANCE.most),
  };
}

/** mean + noise · σ for standard normal `noise [F, L, h, w]`; the gradient passes to both moments. */
export function sampleLatents({ mean, logVariance }: Moments, noise: Tensor): Tensor {
  return mean.add(noise.mul(exp(logVariance.mul(0.5))));
}

/**
 * Latents `[F, L, h, w]`, not scaled, to frames `[4F - 3, 3, 8h, 8w]`; declares what `decoder` has. F must be odd for
 * that: an even number of latents is a chunk inside of a clip to the reference and decodes to 4F frames.
 */
export function decodeClip(p: Scope, latents: Tensor, config: VaeConfig): Tensor {
  const decoder = p.at("decoder");
  const pass = wholeClip(config, latents, latents);
  let x = decoderFront(decoder, latents, config, pass, BLOCK);
  for (let level = 0; level < config.channels.length; level++)
    x = decoderLevel(decoder, x, level, config, pass);
  return decoderHead(decoder, x, config, pass);
}

/** Key of the kernel that makes the pixels: what the adversarial term is balanced at. */
export const LAST_KERNEL = "decoder.conv_out.conv.weight";

/** Latents `[F, L, h, w]` of frames `[T, 3, H, W]`. */
export function latentShape([frames, , height, width]: readonly number[], config: VaeConfig): number[] {
  const ratio = 2 ** (config.channels.length - 1);
  const latentFrames = 1 + (frames - 1) / 2 ** config.temporalLevels;
  return [latentFrames, config.latentChannels, height / ratio, width / ratio];
}

/** A pass without a chunk before or after it. */
function wholeClip(config: VaeConfig, x: Tensor, guide: Tensor | null): Pass {
  const [frames, , height, width] = x.shape;
  const call = { frames, height, width, continues: false, keeps: false, block: BLOCK };
  return vaePass(config, call, guide);
}
