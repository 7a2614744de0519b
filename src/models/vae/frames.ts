/** @file Video inside the VAE: frames in groups, channels in blocks. */
// n frames of a group, C channels, H and W height and width, b channels per block
import { concat, pad } from "../../graph/functions.ts";
import type { Tensor } from "../../graph/tensor.ts";

/**
 * Frames of one chunk. Each group is a tensor `[n, C, H, W]` that lies in memory as `[n, C/b, H, W, b]`, where b is
 * `block`: the engine convolves fastest on 16 channels at a time where the processor has such vectors. With b = 1
 * this is the ordinary layout. Groups are what a convolution works on at a time.
 */
export type Clip = {
  readonly groups: readonly Tensor[];
  /** Channels that carry values; the last block is filled up with zeros. */
  readonly channels: number;
  readonly block: number;
};

/** How many frames each group holds: a lone first frame where their number is odd, then as many as filters take. */
export function groupSizes(frames: number): number[] {
  const sizes = frames % 2 === 1 ? [1] : [];
  let rest = frames - sizes.length;
  for (; rest >= 4; rest -= 4) sizes.push(4);
  if (rest > 0) sizes.push(rest);
  return sizes;
}

export function framesOf({ groups }: Clip): number {
  return groups.reduce((n, group) => n + group.dim(0), 0);
}

/** The clip with every group replaced. */
export function mapGroups(clip: Clip, map: (group: Tensor, index: number) => Tensor): Clip {
  return { ...clip, groups: clip.groups.map(map) };
}

/** The same frames in groups of the preferred sizes. */
export function regroup(clip: Clip): Clip {
  const sizes = groupSizes(framesOf(clip));
  if (sizes.every((size, i) => clip.groups[i]?.dim(0) === size)) return clip;
  const frames = clip.groups.flatMap((group) =>
    Array.from({ length: group.dim(0) }, (_, i) => group.slice(0, i, i + 1)),
  );
  let at = 0;
  return { ...clip, groups: sizes.map((size) => concat(frames.slice(at, (at += size)), 0)) };
}

/** Channels rounded up to whole blocks. */
export function paddedChannels(channels: number, block: number): number {
  return Math.ceil(channels / block) * block;
}

/** Frames `[T, C, H, W]` in ordinary layout to a clip; missing channels of the last block are zero. */
export function toClip(frames: Tensor, block: number): Clip {
  const [count, channels, height, width] = frames.shape;
  const missing = paddedChannels(channels, block) - channels;
  const padded = missing === 0 ? frames : pad(frames, [0, 0, 0, 0], [0, missing, 0, 0]);
  let at = 0;
  const groups = groupSizes(count).map((n) => toBlocks(padded.slice(0, at, (at += n)), block));
  return {
    groups: groups.map((group) => group.reshape([-1, channels + missing, height, width])),
    channels,
    block,
  };
}

/** A clip as frames `[T, C, H, W]` in ordinary layout. */
export function fromClip({ groups, channels, block }: Clip): Tensor {
  const plain = groups.map((group) => {
    const [n, padded, height, width] = group.shape;
    if (block === 1) return group;
    return group
      .reshape([n, padded / block, height, width, block])
      .transpose([0, 1, 4, 2, 3])
      .reshape([n, padded, height, width])
      .slice(1, 0, channels);
  });
  return concat(plain, 0);
}

function toBlocks(group: Tensor, block: number): Tensor {
  const [n, channels, height, width] = group.shape;
  if (block === 1) return group;
  return group.reshape([n, channels / block, block, height, width]).transpose([0, 1, 3, 4, 2]);
}
