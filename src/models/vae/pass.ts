/** @file One chunk's way through the encoder or decoder: its caches, and the names of what goes between segments. */
import type { InputSpec, Segment } from "../../graph/segment.ts";
import { input, type Tensor, toposort } from "../../graph/tensor.ts";
import type { Caches } from "./causal-conv.ts";
import type { VaeConfig } from "./config.ts";
import type { Clip } from "./frames.ts";
import { type Guide, normSilu, spatialNormSilu } from "./norm.ts";
import type { Pass } from "./resnet.ts";

/** Size and place of a chunk. */
export type ChunkCall = {
  /** Frames that go in: pixels for the encoder, latents for the decoder. */
  readonly frames: number;
  readonly height: number;
  readonly width: number;
  /** Whether a chunk came before, whose caches are fed. */
  readonly continues: boolean;
  /** Whether a chunk comes after, so that caches are given out. */
  readonly keeps: boolean;
  /** Channels per block in memory, see `Clip`. */
  readonly block: number;
};

/** Caches go in and out of segments under this prefix and the path of their convolution. */
export const CACHE_PREFIX = "cache/";

/** The pass of one segment: caches become inputs where the chunk continues, and outputs where it keeps. */
export function vaePass(
  { groups, eps }: VaeConfig,
  { continues, keeps }: ChunkCall,
  guide: Guide | null,
): Pass {
  const before: Caches["before"] = continues
    ? (path, channels, height, width) => input(CACHE_PREFIX + path, [2, channels, height, width])
    : null;
  const norm = { groups, eps };
  return {
    activate: (p, clip) => (guide === null ? normSilu(p, clip, norm) : spatialNormSilu(p, clip, guide, norm)),
    caches: { before, after: new Map(), keep: keeps },
  };
}

/** Group tensors of a clip as outputs `x0`, `x1`, ... */
export function groupsOut({ groups }: Clip): Record<string, Tensor> {
  return Object.fromEntries(groups.map((group, i) => [`x${i}`, group]));
}

/** The groups among a segment's inputs as a clip. */
export function clipFrom(inputs: Readonly<Record<string, Tensor>>, channels: number, block: number): Clip {
  const groups = Object.entries(inputs).filter(([name]) => /^x\d+$/.test(name));
  return { groups: groups.map(([, group]) => group), channels, block, batch: 1 };
}

/** What a pass leaves for the next chunk, as outputs. */
export function cachesOut({ caches }: Pass): Record<string, Tensor> {
  return Object.fromEntries([...caches.after].map(([path, frames]) => [CACHE_PREFIX + path, frames]));
}

/** Input specifications for what the segment before gives out. */
export function groupsIn(outputs: Readonly<Record<string, Tensor>> = {}): Record<string, InputSpec> {
  const groups = Object.entries(outputs).filter(([name]) => !name.startsWith(CACHE_PREFIX));
  return Object.fromEntries(groups.map(([name, { shape }]) => [name, shape]));
}

/** Shapes of the caches a segment takes, by their names. */
export function cacheInputs({ outputs }: Segment): Map<string, readonly number[]> {
  const inputs = toposort(Object.values(outputs)).filter((node) => node.op === "Input");
  const named = inputs.map((node) => [(node.attrs as { name: string }).name, node.shape] as const);
  return new Map(named.filter(([name]) => name.startsWith(CACHE_PREFIX)));
}
