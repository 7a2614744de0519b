/** @file Streams through the VAE: a clip in chunks, or every tile of it in chunks and then blended. */
import { blendTiles, needsTiles, type Planes, type Tiling, tileStarts } from "../models/vae/tiling.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import {
  channelsFirst,
  cropFrames,
  framesFirst,
  joinFrames,
  samplesOf,
  sliceFrames,
  stackSamples,
} from "./clip-layout.ts";
import type { RunHooks } from "./run-hooks.ts";
import type { ChunkCache, VaeChunks } from "./vae-chunks.ts";

/** Results of a clip `[T, C, H, W]` as they come, in tiles where there is a tiling; sessions end with the stream. */
export async function* streamClip(
  chunks: VaeChunks,
  clip: HostTensor,
  lengths: readonly number[],
  hooks: RunHooks,
): AsyncGenerator<HostTensor> {
  const { tiling } = chunks;
  try {
    yield* tiling === null
      ? inChunks(chunks, clip, lengths, hooks)
      : inTiles(chunks, clip, lengths, tiling, hooks);
  } finally {
    await chunks.close();
  }
}

/** A batch `[B, C, T, H, W]`, one sample after the other, through a stream of `[T, C, H, W]`; the whole result. */
export async function wholeBatch(
  batch: HostTensor,
  stream: (clip: HostTensor) => AsyncIterable<HostTensor>,
): Promise<HostTensor> {
  const results: HostTensor[] = [];
  for (const sample of samplesOf(batch)) {
    const parts: HostTensor[] = [];
    for await (const part of stream(framesFirst(sample))) parts.push(part);
    results.push(channelsFirst(joinFrames(parts)));
  }
  return stackSamples(results);
}

/** Results of the chunks of a clip `[T, C, H, W]`, one after the other; caches never outlive the loop. */
async function* inChunks(
  chunks: VaeChunks,
  clip: HostTensor,
  lengths: readonly number[],
  hooks: RunHooks,
): AsyncGenerator<HostTensor> {
  let cache: ChunkCache | null = null;
  let start = 0;
  try {
    for (const [i, length] of lengths.entries()) {
      const isLast = i === lengths.length - 1;
      const chunk = sliceFrames(clip, start, start + length);
      const done = await chunks.run(chunk, { cache, isLast }, hooks);
      cache = done.cache;
      start += length;
      yield done.result;
    }
  } finally {
    if (cache !== null) await chunks.drop(cache);
  }
}

/**
 * As `inChunks`, for every tile side by side: each has caches of its own, and the tiles of a chunk are blended before
 * the next chunk begins.
 */
async function* inTiles(
  chunks: VaeChunks,
  clip: HostTensor,
  lengths: readonly number[],
  tiling: Tiling,
  hooks: RunHooks,
): AsyncGenerator<HostTensor> {
  const [, , height, width] = clip.shape;
  if (!needsTiles({ height, width }, tiling)) {
    yield* inChunks(chunks, clip, lengths, hooks);
    return;
  }
  const tiles = tileStarts(height, tiling.height).map((top) =>
    tileStarts(width, tiling.width).map((left) => {
      const [bottom, right] = [
        Math.min(top + tiling.height.size, height),
        Math.min(left + tiling.width.size, width),
      ];
      return inChunks(chunks, cropFrames(clip, { top, left, bottom, right }), lengths, hooks);
    }),
  );
  try {
    for (let i = 0; i < lengths.length; i++) {
      const rows: Planes[][] = [];
      let shape: readonly number[] = [];
      for (const row of tiles) {
        const planes: Planes[] = [];
        for (const tile of row) {
          const { value } = await tile.next();
          shape = (value as HostTensor).shape;
          planes.push(asPlanes(value as HostTensor));
        }
        rows.push(planes);
      }
      const blended = blendTiles(rows, tiling);
      yield { dtype: "f32", shape: [shape[0], shape[1], blended.height, blended.width], data: blended.data };
    }
  } finally {
    for (const tile of tiles.flat()) await tile.return(undefined);
  }
}

function asPlanes({ shape: [frames, channels, height, width], data }: HostTensor): Planes {
  return { data: data as Float32Array, planes: frames * channels, height, width };
}
