/** @file What image-to-video models see of clips while they train: first frames with noise, encoded for every step anew. */
// F latent frames, C latent channels, h and w latent height and width
import { drawNormals } from "../../diffusion/noise.ts";
import { toOnnx } from "../../graph/onnx.ts";
import { simplify } from "../../graph/rewrite.ts";
import { sizeOf } from "../../graph/shape.ts";
import { input } from "../../graph/tensor.ts";
import type { VaeConfig } from "../../models/vae/config.ts";
import { Scope } from "../../nn/scope.ts";
import type { Engine, Session } from "../../runtime/engine.ts";
import { mapWeights } from "../../runtime/mapped-weights.ts";
import { latentsFrom } from "../cache/moments.ts";
import { conditionFactor, imageNoiseSigmas, keptImages } from "../diffusion/image-conditioning.ts";
import { rngFor } from "../diffusion/random.ts";
import { encodeClips } from "../vae/codec.ts";
import type { PixelSize } from "./clip-size.ts";
import type { ClipSource } from "./clips.ts";
import { openPart } from "./model-folder.ts";

/** A sample of a step: its number there, and the clip that it shows. */
export type FirstFrameOf = { readonly place: number; readonly index: number };

/** First frames as conditioning. */
export type FirstFrames = {
  /**
   * Conditioning latents `[frames, C, h, w]` of each sample: the image in latent frame 0 and zeros behind it, or zeros
   * throughout where its image is dropped.
   */
  readonly latents: (
    step: number,
    samples: readonly FirstFrameOf[],
    frames: number,
  ) => Promise<Float32Array[]>;
  readonly close: () => Promise<void>;
};

export type FirstFrameSetting = {
  readonly config: VaeConfig;
  /** The run's model. */
  readonly folder: string;
  readonly clips: ClipSource;
  readonly size: PixelSize;
  readonly seed: number;
  /** Probability that the image of a sample is dropped. */
  readonly dropout: number;
};

/** Images that go through the encoder at once. */
const AT_ONCE = 8;

export function firstFrames(setting: FirstFrameSetting, engine: Engine): FirstFrames {
  const { config, seed, dropout } = setting;
  const factor = conditionFactor(config.invertScale ? "inverted" : "scaled", config.scalingFactor);
  let loading: Promise<Session> | null = null;
  const conditioned = async (step: number, samples: readonly FirstFrameOf[], frames: number) => {
    loading ??= loadEncoder(setting, engine);
    const encoded = await encode(setting, engine, await loading, { step, samples });
    return samples.map(({ place }, i) => {
      const all = new Float32Array(frames * sizeOf(encoded[i].shape));
      const [isKept] = keptImages({ seed, step, probability: dropout }, place, 1);
      const rng = rngFor(seed, "posterior of an image", step, place);
      if (isKept) all.set(latentsFrom(encoded[i], rng, factor));
      return all;
    });
  };
  return {
    latents: async (step, samples, frames) => {
      const found: Float32Array[] = [];
      for (let start = 0; start < samples.length; start += AT_ONCE)
        found.push(...(await conditioned(step, samples.slice(start, start + AT_ONCE), frames)));
      return found;
    },
    close: async () => {
      if (loading !== null) await engine.unload(await loading);
    },
  };
}

/** `[AT_ONCE, 3, H, W]` */
function imagesShape({ config, size }: FirstFrameSetting): readonly number[] {
  return [AT_ONCE, config.inChannels, size.height, size.width];
}

async function loadEncoder(setting: FirstFrameSetting, engine: Engine): Promise<Session> {
  const { config, folder } = setting;
  const p = new Scope();
  const moments = encodeClips(p, input("clip", imagesShape(setting)), config, AT_ONCE);
  const declared = new Map([...p.declared].map(([key, { shape }]) => [key, shape]));
  const mapped = mapWeights(await openPart(folder, "vae"), declared, { ignore: [/^decoder\./] });
  const model = toOnnx(simplify({ ...moments }), { storage: mapped.storage });
  return engine.load("VAE encoder of first frames", model, { weightsFolder: mapped.folder, arena: true });
}

/** Posteriors `[1, C, h, w]` of the first frames with noise; places that no sample takes stay empty. */
async function encode(
  setting: FirstFrameSetting,
  engine: Engine,
  session: Session,
  { step, samples }: { readonly step: number; readonly samples: readonly FirstFrameOf[] },
) {
  const shape = imagesShape(setting);
  const data = new Float32Array(sizeOf(shape));
  const image = data.length / AT_ONCE;
  for (const [i, sample] of samples.entries()) data.set(await noisyFrame(setting, step, sample), i * image);
  const outputs = await engine.run(session, { clip: { dtype: "f32", shape, data } });
  const [mean, logVariance] = [
    await engine.download(outputs.mean),
    await engine.download(outputs.logVariance),
  ];
  const one = mean.data.length / AT_ONCE;
  const own = ({ data }: typeof mean, i: number) => (data as Float32Array).slice(i * one, (i + 1) * one);
  return samples.map((_, i) => ({
    shape: mean.shape.with(0, 1),
    mean: own(mean, i),
    logVariance: own(logVariance, i),
  }));
}

async function noisyFrame(
  { clips, size, seed }: FirstFrameSetting,
  step: number,
  { place, index }: FirstFrameOf,
): Promise<Float32Array> {
  const pixels = await clips.firstFrame(index, size);
  const [sigma] = imageNoiseSigmas({ seed, step }, place, 1);
  const noise = drawNormals(rngFor(seed, "pixels of an image", step, place), pixels.length);
  return pixels.map((value, i) => value + sigma * noise[i]);
}
