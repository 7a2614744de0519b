/** @file The VAE over a clip in one graph, as training needs it: encode, sample, decode. */
// T frames, F latent frames, L latent channels, H and W height and width, h and w latent height and width
import { concat, exp, maximum, minimum } from "../../graph/functions.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { type Caches, causalConv } from "../../models/vae/causal-conv.ts";
import { chunkLengths, DECODE_CHUNK, ENCODE_CHUNK } from "../../models/vae/chunks.ts";
import type { VaeConfig } from "../../models/vae/config.ts";
import { decoderFront, decoderHead, decoderLevel } from "../../models/vae/decoder.ts";
import { encoderHead, encoderLevel } from "../../models/vae/encoder.ts";
import { toClip, toPictures } from "../../models/vae/frames.ts";
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
 * Cut into the chunks that the pipeline encodes in, so that group norms see in training what they see afterwards.
 */
export function encodeClip(p: Scope, frames: Tensor, config: VaeConfig): Moments {
  return momentsOf(
    inChunks(frames, ENCODE_CHUNK, config, false, (chunk, pass) => encode(p, chunk, config, pass)),
    config,
  );
}

/** As `encodeClip`, for pictures `[B, 3, H, W]` that are clips of one frame each; the moments are `[B, L, h, w]`. */
export function encodePictures(p: Scope, pictures: Tensor, config: VaeConfig): Moments {
  return momentsOf(encode(p, pictures, config, picturePass(pictures, config, null)), config);
}

function encode(p: Scope, frames: Tensor, config: VaeConfig, pass: Pass): Tensor {
  const encoder = p.at("encoder");
  const clip = pass.pictures ? toPictures(frames, BLOCK) : toClip(frames, BLOCK);
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

/** mean + noise · σ for standard normal `noise [F, L, h, w]`; the gradient passes to both moments. */
export function sampleLatents({ mean, logVariance }: Moments, noise: Tensor): Tensor {
  return mean.add(noise.mul(exp(logVariance.mul(0.5))));
}

/**
 * Latents `[F, L, h, w]`, not scaled, to frames `[4F - 3, 3, 8h, 8w]`, in the pipeline's chunks; declares what
 * `decoder` has. F must be odd: an even number of latents decodes to 4F frames in the reference.
 */
export function decodeClip(p: Scope, latents: Tensor, config: VaeConfig): Tensor {
  return inChunks(latents, DECODE_CHUNK, config, true, (chunk, pass) => decode(p, chunk, config, pass));
}

/** As `decodeClip`, for latents `[B, L, h, w]` of pictures; gives `[B, 3, 8h, 8w]`. */
export function decodePictures(p: Scope, latents: Tensor, config: VaeConfig): Tensor {
  return decode(p, latents, config, picturePass(latents, config, latents));
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

/** Latents `[F, L, h, w]` of frames `[T, 3, H, W]`. */
export function latentShape([frames, , height, width]: readonly number[], config: VaeConfig): number[] {
  const ratio = 2 ** (config.channels.length - 1);
  const latentFrames = 1 + (frames - 1) / 2 ** config.temporalLevels;
  return [latentFrames, config.latentChannels, height / ratio, width / ratio];
}

function picturePass({ shape }: Tensor, config: VaeConfig, guide: Tensor | null): Pass {
  const [frames, , height, width] = shape;
  const call = { frames, height, width, continues: false, keeps: false, block: BLOCK };
  return { ...vaePass(config, call, guide), pictures: true };
}

/** Applies `code` to chunks of `size` frames one after the other, each with the caches that the one before it left. */
function inChunks(
  x: Tensor,
  size: number,
  config: VaeConfig,
  guided: boolean,
  code: (chunk: Tensor, pass: Pass) => Tensor,
): Tensor {
  const [frames, , height, width] = x.shape;
  const lengths = chunkLengths(frames, size);
  const results: Tensor[] = [];
  let left: Caches["after"] | null = null;
  let start = 0;
  for (const [i, length] of lengths.entries()) {
    const chunk = x.slice(0, start, (start += length));
    const keeps = i < lengths.length - 1;
    const call = { frames: length, height, width, continues: false, keeps, block: BLOCK };
    const pass = vaePass(config, call, guided ? chunk : null);
    const before: Caches["after"] | null = left;
    const caches: Caches = { ...pass.caches, before: before && ((path) => before.get(path)!) };
    results.push(code(chunk, { ...pass, caches }));
    left = caches.after;
  }
  return concat(results, 0);
}
