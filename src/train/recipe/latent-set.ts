/** @file The training set as the transformer sees it: posteriors of the VAE, encoded once and kept in the run's cache. */
import { CancelledError } from "../../errors.ts";
import { toOnnx } from "../../graph/onnx.ts";
import { simplify } from "../../graph/rewrite.ts";
import { input } from "../../graph/tensor.ts";
import type { VaeConfig } from "../../models/vae/config.ts";
import { Scope } from "../../nn/scope.ts";
import type { Engine, Session } from "../../runtime/engine.ts";
import { mapWeights } from "../../runtime/mapped-weights.ts";
import type { Cache } from "../cache/cache.ts";
import type { Facts } from "../cache/key.ts";
import type { Moments } from "../cache/moments.ts";
import type { Engines } from "../learner.ts";
import { encodeClips, latentShape } from "../vae/codec.ts";
import { latentStatistics } from "../vae/latent-scale.ts";
import type { ClipSize } from "./clip-size.ts";
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
  const { config, folder, clips, size, count } = setting;
  const files = [...(await openPart(folder, "vae")).realPaths.values()];
  const encoder = await cache.encoderIdentity({ ...config, scalingFactor: undefined } as Facts, files);
  const wantedAt = (index: number) => ({
    content: clips.content(index),
    preprocessing: { of: clips.frames, ...size },
    encoder,
  });
  const missing = async () => {
    throw new Error("the cache of latents has been removed while it was in use");
  };
  let done = 0;
  const work = engines.map(async (engine, first) => {
    const encode = lazyEncoder(setting, engine);
    for (let index = first; index < count; index += engines.length) {
      if (signal.aborted) throw new CancelledError(`stopped after encoding ${done} of ${count} clips`);
      await cache.momentsOf(wantedAt(index), () => encode.clip(index));
      onClip?.(++done);
    }
    await encode.close();
  });
  await Promise.all(work);
  return {
    count,
    shape: latentShape(clipShape(setting), config),
    moments: (index) => cache.momentsOf(wantedAt(index), missing),
  };
}

/** An encoder that is loaded when the first clip asks for it. */
function lazyEncoder(setting: LatentSetting, engine: Engine) {
  let loading: Promise<Session> | null = null;
  return {
    clip: async (index: number): Promise<Moments> => {
      loading ??= loadEncoder(setting, engine);
      return encodeOne(setting, engine, await loading, index);
    },
    close: async () => {
      if (loading !== null) await engine.unload(await loading);
    },
  };
}

/** `[T, 3, H, W]` */
function clipShape({ size: { frames, height, width }, config }: LatentSetting): readonly number[] {
  return [frames, config.inChannels, height, width];
}

async function loadEncoder(setting: LatentSetting, engine: Engine): Promise<Session> {
  const { config, folder } = setting;
  const p = new Scope();
  const moments = encodeClips(p, input("clip", clipShape(setting)), config);
  const declared = new Map([...p.declared].map(([key, { shape }]) => [key, shape]));
  const mapped = mapWeights(await openPart(folder, "vae"), declared, { ignore: [/^decoder\./] });
  const model = toOnnx(simplify({ ...moments }), { storage: mapped.storage });
  return engine.load("VAE encoder", model, { weightsFolder: mapped.folder, arena: true });
}

async function encodeOne(
  setting: LatentSetting,
  engine: Engine,
  session: Session,
  index: number,
): Promise<Moments> {
  const { clips, size } = setting;
  const data = framesOf(await clips.pixels(index, size), size, 0, size.frames);
  const clip = { dtype: "f32" as const, shape: clipShape(setting), data };
  const outputs = await engine.run(session, { clip });
  const mean = await engine.download(outputs.mean);
  const logVariance = await engine.download(outputs.logVariance);
  return {
    shape: mean.shape,
    mean: mean.data as Float32Array,
    logVariance: logVariance.data as Float32Array,
  };
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
