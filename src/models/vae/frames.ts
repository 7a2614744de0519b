/** @file Video inside the VAE: frames in groups, channels in blocks. */
// n frames of a group, C channels, H and W height and width, b channels per block
import { concat, pad } from "../../graph/functions.ts";
import { sizeOf } from "../../graph/shape.ts";
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
  /**
   * How many clips go through side by side. A frame is then one picture of every clip, so that a group of n frames has
   * n · `batch` pictures, and everything about time stays as it is for one clip.
   */
  readonly batch: number;
};

/**
 * Elements of a frame, 32 MiB as float32, beyond which groups hold two frames and not four: filtering four at a time
 * saves a quarter of the multiplications, but what it keeps in between is twice as large.
 */
const LARGE_FRAME = 1 << 23;

/** Elements of a frame, 1 MiB as float32, up to which sixteen frames are worked on at once: fewer and larger steps. */
const SMALL_FRAME = 1 << 18;

/**
 * How many frames each group holds: a lone first frame where their number is odd, then as many as filters take; of
 * several clips, all the others.
 */
export function groupSizes(frames: number, frameElements: number, batch = 1): number[] {
  const sizes = frames % 2 === 1 ? [1] : [];
  if (batch > 1) return frames === 1 ? sizes : [...sizes, frames - sizes.length];
  const most = frameElements > LARGE_FRAME ? 2 : frameElements > SMALL_FRAME ? 4 : 16;
  let rest = frames - sizes.length;
  for (let size = most; size >= 2; size /= 2) for (; rest >= size; rest -= size) sizes.push(size);
  return sizes;
}

export function framesOf({ groups, batch }: Clip): number {
  return groups.reduce((n, group) => n + group.dim(0), 0) / batch;
}

/** The clip with every group replaced. */
export function mapGroups(clip: Clip, map: (group: Tensor, index: number) => Tensor): Clip {
  return { ...clip, groups: clip.groups.map(map) };
}

/** The same frames in groups of the sizes that suit frames of so many elements. */
export function regroup(clip: Clip, frameElements = sizeOf(clip.groups[0].shape.slice(1))): Clip {
  const pictures = groupSizes(framesOf(clip), frameElements, clip.batch).map((size) => size * clip.batch);
  if (pictures.every((size, i) => clip.groups[i]?.dim(0) === size)) return clip;
  let start = 0;
  return { ...clip, groups: pictures.map((size) => picturesBetween(clip.groups, start, (start += size))) };
}

/** Pictures `start` to `end` of a list of groups as one group. */
function picturesBetween(groups: readonly Tensor[], start: number, end: number): Tensor {
  const parts: Tensor[] = [];
  let at = 0;
  for (const group of groups) {
    const count = group.dim(0);
    const [from, to] = [Math.max(start - at, 0), Math.min(end - at, count)];
    if (from < to) parts.push(from === 0 && to === count ? group : group.slice(0, from, to));
    at += count;
  }
  return concat(parts, 0);
}

/** Channels rounded up to whole blocks. */
export function paddedChannels(channels: number, block: number): number {
  return Math.ceil(channels / block) * block;
}

/**
 * Frames `[T, C, H, W]` in ordinary layout to a clip, or those of several clips, `[T · batch, C, H, W]` with the first
 * frames of all clips first; missing channels of the last block are zero.
 */
export function toClip(frames: Tensor, block: number, batch = 1): Clip {
  const [count, channels, height, width] = frames.shape;
  const missing = paddedChannels(channels, block) - channels;
  const padded = missing === 0 ? frames : pad(frames, [0, 0, 0, 0], [0, missing, 0, 0]);
  let at = 0;
  const groups = groupSizes(count / batch, (channels + missing) * height * width, batch).map((n) =>
    toBlocks(padded.slice(0, at, (at += n * batch)), block),
  );
  return {
    groups: groups.map((group) => group.reshape([-1, channels + missing, height, width])),
    channels,
    block,
    batch,
  };
}

/** A clip as frames `[T · batch, C, H, W]` in ordinary layout. */
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
