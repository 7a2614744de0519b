/** @file The training set as the transformer sees it: posteriors of the VAE, encoded once and kept in the run's cache. */
import type { Moments } from "../../diffusion/posterior.ts";
import { CancelledError } from "../../errors.ts";
import type { VaeConfig } from "../../models/vae/config.ts";
import type { Cache } from "../cache/cache.ts";
import type { Facts } from "../cache/key.ts";
import type { Engines } from "../learner.ts";
import { latentShape } from "../vae/codec.ts";
import { latentStatistics } from "../vae/latent-scale.ts";
import { clipEncoder } from "./clip-encoder.ts";
import { type ClipSize, clipShape, sizeKey } from "./clip-size.ts";
import { type ClipSource, framesOf } from "./clips.ts";
import { openPart } from "./model-folder.ts";

/** Posteriors of clips by their number. */
export type LatentSet = {
  readonly count: number;
  /** `[F, L, h, w]` */
  readonly shape: readonly number[];
  readonly moments: (index: number) => Promise<Moments>;
};

/** How clips are taken and who encodes them. */
export type LatentSetting = {
  readonly config: VaeConfig;
  /** The run's model. */
  readonly folder: string;
  readonly clips: ClipSource;
  readonly size: ClipSize;
  readonly count: number;
  /** Which clips are wanted at this size; all unless given. */
  readonly isTaken?: (index: number) => boolean;
};

/**
 * Encodes what the cache does not have yet, every engine a clip of its own.
 * @throws CancelledError between clips; the next call goes on where this one stopped
 */
export async function encodeSet(
  setting: LatentSetting,
  cache: Cache,
  engines: Engines,
  { signal, onClip }: { readonly signal: AbortSignal; readonly onClip?: (done: number) => void },
): Promise<LatentSet> {
  const { config, folder, clips, size, count, isTaken = () => true } = setting;
  const files = [...(await openPart(folder, "vae")).realPaths.values()];
  const shape = clipShape(size, config);
  const identity = await cache.encoderIdentity({ ...config, scalingFactor: undefined } as Facts, files);
  const wantedAt = (index: number) => ({
    content: clips.content(index),
    preprocessing: { of: clips.frames, ...size, ...clips.taken },
    encoder: identity,
  });
  const missing = async () => {
    throw new Error("the cache of latents has been removed while it was in use");
  };
  let done = 0;
  const work = engines.map(async (engine, first) => {
    const encoder = clipEncoder({ config, folder, shape, batch: 1 }, engine);
    for (let index = first; index < count; index += engines.length) {
      if (signal.aborted) throw new CancelledError(`stopped after encoding ${done} of ${count} clips`);
      if (isTaken(index))
        await cache.momentsOf(wantedAt(index), async () => encoder.encode(await pixelsOf(setting, index)));
      onClip?.(++done);
    }
    await encoder.close();
  });
  await Promise.all(work);
  return {
    count,
    shape: latentShape(shape, config),
    moments: (index) => cache.momentsOf(wantedAt(index), missing),
  };
}

/** The sets of clips at several sizes, one after the other, by `sizeKey`. */
export async function latentSets(
  sizes: readonly ClipSize[],
  encode: (size: ClipSize) => Promise<LatentSet>,
): Promise<ReadonlyMap<string, LatentSet>> {
  const sets = new Map<string, LatentSet>();
  for (const size of sizes) sets.set(sizeKey(size), await encode(size));
  return sets;
}

async function pixelsOf({ clips, size }: LatentSetting, index: number): Promise<Float32Array> {
  return framesOf(await clips.pixels(index, size), size, 0, size.frames);
}

/**
 * The factor that brings the latents of a set to unit deviation, over the means of its posteriors: what noise the
 * encoder adds is small beside them.
 */
export async function measureScale({ count, moments }: LatentSet): Promise<number> {
  const means: Float32Array[] = [];
  for (let index = 0; index < count; index++) means.push((await moments(index)).mean);
  return latentStatistics(means).scalingFactor;
}
