/** @file The VAE over a clip in one graph, as training needs it: encode, sample, decode. */
// T frames, F latent frames, L latent channels, H and W height and width, h and w latent height and width
import { concat, exp, maximum, minimum } from "../../graph/functions.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { type Caches, causalConv } from "../../models/vae/causal-conv.ts";
import { chunkLengths, DECODE_CHUNK, ENCODE_CHUNK } from "../../models/vae/chunks.ts";
import { spatialRatio, temporalRatio, type VaeConfig } from "../../models/vae/config.ts";
import { decoderFront, decoderHead, decoderLevel } from "../../models/vae/decoder.ts";
import { encoderHead, encoderLevel } from "../../models/vae/encoder.ts";
import { toClip } from "../../models/vae/frames.ts";
import { vaePass } from "../../models/vae/pass.ts";
import type { Pass } from "../../models/vae/resnet.ts";
import type { Scope } from "../../nn/scope.ts";

/** The posterior of clips' latents, `[F · B, L, h, w]` each. */
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
 * Frames `[T · B, 3, H, W]` of B clips in [-1, 1], the first frames of all clips first, T = 4k + 1, to the moments of
 * F = k + 1 latents each in the same order; declares what `encoder` has. Cut into the chunks that the pipeline encodes
 * in, so that group norms see in training what they see afterwards.
 */
export function encodeClips(p: Scope, frames: Tensor, config: VaeConfig, batch = 1): Moments {
  const cut = { size: ENCODE_CHUNK, batch, guided: false };
  return momentsOf(
    inChunks(frames, cut, config, (chunk, pass) => encode(p, chunk, config, pass)),
    config,
  );
}

function encode(p: Scope, frames: Tensor, config: VaeConfig, pass: Pass): Tensor {
  const encoder = p.at("encoder");
  const clip = toClip(frames, BLOCK, pass.batch);
  let x = causalConv(encoder.at("conv_in"), clip, config.channels[0], pass.caches);
  for (let level = 0; level < config.channels.length; level++)
    x = encoderLevel(encoder, x, level, config, pass);
  return encoderHead(encoder, x, config, pass);
}

function momentsOf(moments: Tensor, config: VaeConfig): Moments {
  const logVariance = moments.slice(1, config.latentChannels);
  return {
    mean: moments.slice(1, 0, config.latentChannels),
    logVariance: minimum(maximum(logVariance, LOG_VARIANCE.least), LOG_VARIANCE.most),
  };
}

/** mean + noise · σ for standard normal `noise [F · B, L, h, w]`; the gradient passes to both moments. */
export function sampleLatents({ mean, logVariance }: Moments, noise: Tensor): Tensor {
  return mean.add(noise.mul(exp(logVariance.mul(0.5))));
}

/**
 * Latents `[F · B, L, h, w]`, not scaled, to frames `[(4F - 3) · B, 3, 8h, 8w]`, in the pipeline's chunks; declares what
 * `decoder` has. F must be odd: an even number of latents decodes to 4F frames in the reference.
 */
export function decodeClips(p: Scope, latents: Tensor, config: VaeConfig, batch = 1): Tensor {
  const cut = { size: DECODE_CHUNK, batch, guided: true };
  return inChunks(latents, cut, config, (chunk, pass) => decode(p, chunk, config, pass));
}

function decode(p: Scope, latents: Tensor, config: VaeConfig, pass: Pass): Tensor {
  const decoder = p.at("decoder");
  let x = decoderFront(decoder, latents, config, pass, BLOCK);
  for (let level = 0; level < config.channels.length; level++)
    x = decoderLevel(decoder, x, level, config, pass);
  return decoderHead(decoder, x, config, pass);
}

/** Key of the kernel that makes the pixels: what the adversarial term is balanced at. */
export const LAST_KERNEL = "decoder.conv_out.conv.weight";

/** Latents `[F, L, h, w]` of a clip `[T, 3, H, W]`. */
export function latentShape([frames, , height, width]: readonly number[], config: VaeConfig): number[] {
  const ratio = spatialRatio(config);
  const latentFrames = 1 + (frames - 1) / temporalRatio(config);
  return [latentFrames, config.latentChannels, height / ratio, width / ratio];
}

/** Applies `code` to chunks of `size` frames one after the other, each with the caches that the one before it left. */
function inChunks(
  x: Tensor,
  { size, batch, guided }: { readonly size: number; readonly batch: number; readonly guided: boolean },
  config: VaeConfig,
  code: (chunk: Tensor, pass: Pass) => Tensor,
): Tensor {
  const [pictures, , height, width] = x.shape;
  const lengths = chunkLengths(pictures / batch, size);
  const results: Tensor[] = [];
  let left: Caches["after"] | null = null;
  let start = 0;
  for (const [i, length] of lengths.entries()) {
    const chunk = x.slice(0, start, (start += length * batch));
    const keeps = i < lengths.length - 1;
    const call = { frames: length, height, width, continues: false, keeps, block: BLOCK };
    const pass = vaePass(config, call, guided ? chunk : null);
    const before: Caches["after"] | null = left;
    const caches: Caches = { ...pass.caches, before: before && ((path) => before.get(path)!) };
    results.push(code(chunk, { ...pass, caches, batch }));
    left = caches.after;
  }
  return concat(results, 0);
}
