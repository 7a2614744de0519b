/** @file Group normalisation of a chunk, plain in the encoder and steered by the latents in the decoder. */
// T frames of the chunk, n of a group, C channels, H and W height and width, G norm groups, b channels per block,
// B clips, F latent frames, h and w latent height and width, L latent channels
import { gather, reciprocal, silu, sqrt } from "../../graph/functions.ts";
import { constant, type Tensor } from "../../graph/tensor.ts";
import { layer, type Scope } from "../../nn/scope.ts";
import type { Prepare } from "./causal-conv.ts";
import { type Clip, framesOf } from "./frames.ts";

export type NormConfig = { readonly groups: number; readonly eps: number };

/** The latents that the chunk is decoded from, `[F · B, L, h, w]` in ordinary layout. */
export type Guide = Tensor;

/** Group normalisation and SiLU, ready to be applied group by group; declares `weight` and `bias` `[C]`. */
export const normSilu = layer((p, clip: Clip, config: NormConfig): Prepare => {
  const { factor, offset } = normAffine(p, clip, config); // [B, C, 1]
  const spread = (row: Tensor) => rowsOf(row.reshape([-1, clip.channels, 1, 1]), clip);
  return affineSilu(spread(factor), spread(offset), clip, latentFrames(clip, 1));
});

/**
 * Spatial normalisation and SiLU: GroupNorm(x) · conv_y(z) + conv_b(z) with the latents z stretched over x by nearest
 * neighbour. The 1x1x1 convolutions commute with the stretching, so they run on the latents, and the norm's own
 * affine part is folded into their results. Declares `norm_layer`, `conv_y.conv` and `conv_b.conv`.
 */
export const spatialNormSilu = layer((p, clip: Clip, guide: Guide, config: NormConfig): Prepare => {
  const { channels, batch } = clip;
  const { factor, offset } = normAffine(p.at("norm_layer"), clip, config); // [B, C, 1]
  const [pictures, , height, width] = guide.shape;
  const byClip = (x: Tensor) => x.reshape([pictures / batch, batch, channels, height * width]);
  const scale = byClip(pointwise(p.at("conv_y", "conv"), guide, channels)); // [F, B, C, h·w]
  const shift = byClip(pointwise(p.at("conv_b", "conv"), guide, channels));
  const shape = [pictures, channels, height, width];
  const factors = rowsOf(scale.mul(factor).reshape(shape), clip);
  const offsets = rowsOf(scale.mul(offset).add(shift).reshape(shape), clip);
  return affineSilu(factors, offsets, clip, latentFrames(clip, pictures / batch));
});

/**
 * What normalisation multiplies every channel by and adds to it, `[B, C, 1]` each. Every clip has statistics of its own,
 * over all frames of the chunk: results depend on how a clip is cut into chunks, as they do in the reference.
 */
function normAffine(p: Scope, clip: Clip, { groups, eps }: NormConfig): { factor: Tensor; offset: Tensor } {
  const perGroup = [-1, groups, clip.channels / groups];
  const mean = channelMeans(clip, (x) => x)
    .reshape(perGroup)
    .mean([2], true); // [B, G, 1]
  const meanSquare = channelMeans(clip, (x) => x.mul(x))
    .reshape(perGroup)
    .mean([2], true);
  const deviation = sqrt(meanSquare.sub(mean.mul(mean)).add(eps));
  const factor = reciprocal(deviation).mul(p.param("weight", [clip.channels]).reshape(perGroup)); // [B, G, C/G]
  const offset = p.param("bias", [clip.channels]).reshape(perGroup).sub(mean.mul(factor));
  return { factor: factor.reshape([-1, clip.channels, 1]), offset: offset.reshape([-1, clip.channels, 1]) };
}

/** Mean over frames, height and width of every channel `[B, C]`; by rows, so that sums stay short. */
function channelMeans(clip: Clip, of: (x: Tensor) => Tensor): Tensor {
  const total = framesOf(clip);
  const { block, batch } = clip;
  const parts = clip.groups.map((group) => {
    const [n, channels, height, width] = group.shape;
    // Without blocks a last axis of length 1 would send the engine down a path that is five times slower.
    const inBlock = block === 1 ? [] : [block];
    const rows = of(group)
      .reshape([n * (channels / block) * height, width, ...inBlock])
      .mean([1])
      .reshape([n, channels / block, height, ...inBlock]);
    if (batch > 1) {
      const means = rows.mean([2]).reshape([n / batch, batch, channels]);
      return total === 1 ? means.reshape([batch, channels]) : means.sum([0]).mul(1 / total);
    }
    return rows
      .mean([0, 2])
      .reshape([1, channels])
      .mul(n / total);
  });
  return parts.reduce((sum, part) => sum.add(part));
}

/** A 1x1x1 convolution of the latents `[F, L, h, w]` to `[F, channels, h·w]`; declares `weight` and `bias`. */
const pointwise = layer((p, guide: Guide, channels: number) => {
  const [frames, inner, height, width] = guide.shape;
  const weight = p.param("weight", [channels, inner, 1, 1, 1]).reshape([channels, inner]);
  const bias = p.param("bias", [channels]).reshape([channels, 1]);
  return weight.matmul(guide.reshape([frames, inner, height * width])).add(bias);
});

/** `[F, C, h, w]` stretched over the clip's width and put in its layout: rows `[F, C/b · h, 1, W · b]`. */
function rowsOf(x: Tensor, { groups, block }: Clip): Tensor {
  const [frames, channels, height, width] = x.shape;
  const stretch = groups[0].dim(3) / width;
  return x
    .reshape([frames * (channels / block), block, height * width])
    .transpose([0, 2, 1])
    .reshape([frames * (channels / block) * height, width, 1, block])
    .expand([frames * (channels / block) * height, width, stretch, block])
    .reshape([frames, (channels / block) * height, 1, width * stretch * block]);
}

/** silu(x · factor + offset) for rows that each stand for several rows of x, and pictures of them picked for each group. */
function affineSilu(
  factors: Tensor,
  offsets: Tensor,
  clip: Clip,
  pick: (group: number) => readonly number[],
): Prepare {
  return (x, index) => {
    const [n, , height, width] = x.shape;
    const rows = factors.dim(1);
    const stretched = x.reshape([n, rows, -1, width * clip.block]);
    const from = (table: Tensor) => picturesAt(table, pick(index));
    return silu(stretched.mul(from(factors)).add(from(offsets))).reshape([n, -1, height, width]);
  };
}

/** The pictures of a table at `indices`; the one where all are the same, all where they come in their order. */
function picturesAt(table: Tensor, indices: readonly number[]): Tensor {
  const distinct = new Set(indices);
  if (indices.length === table.dim(0) && indices.every((index, i) => index === i)) return table;
  if (distinct.size === 1) return table.dim(0) === 1 ? table : table.slice(0, indices[0], indices[0] + 1);
  return gather(table, constant(BigInt64Array.from(indices, BigInt), [indices.length], "i64"));
}

/**
 * Which picture of `frames` latent frames each picture of a group takes: nearest neighbour in time, but where the number of frames is odd
 * the first stands for itself and only the others are stretched.
 */
function latentFrames(clip: Clip, frames: number): (group: number) => readonly number[] {
  const { batch } = clip;
  const total = framesOf(clip);
  const alone = total > 1 && total % 2 === 1 && frames > 1 ? 1 : 0;
  const at = (t: number) =>
    t < alone ? 0 : alone + Math.floor(((t - alone) * (frames - alone)) / (total - alone));
  const starts = clip.groups.map((_, i) => clip.groups.slice(0, i).reduce((n, group) => n + group.dim(0), 0));
  return (group) =>
    Array.from({ length: clip.groups[group].dim(0) }, (_, i) => {
      const picture = starts[group] + i;
      return at(Math.floor(picture / batch)) * batch + (picture % batch);
    });
}
