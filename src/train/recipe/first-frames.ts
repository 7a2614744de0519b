/** @file What image-to-video models see of clips while they train: first frames with noise, encoded for every step anew. */
// F latent frames, C latent channels, h and w latent height and width
import { latentsFrom, type Moments } from "../../diffusion/posterior.ts";
import { sizeOf } from "../../graph/shape.ts";
import type { VaeConfig } from "../../models/vae/config.ts";
import type { Engine } from "../../runtime/engine.ts";
import {
  type ConditionScale,
  conditionFactor,
  keptImages,
  withImageNoise,
} from "../diffusion/image-conditioning.ts";
import { rngFor } from "../diffusion/random.ts";
import { type ClipEncoders, clipEncoders } from "./clip-encoder.ts";
import { clipShape, showPixels } from "./clip-size.ts";
import type { ClipSource } from "./clips.ts";
import type { ConditionedSample, Conditioner } from "./conditioner.ts";

export type FirstFrameSetting = {
  readonly config: VaeConfig;
  /** The run's model. */
  readonly folder: string;
  readonly clips: ClipSource;
  readonly seed: number;
  /** Probability that the image of a sample is dropped. */
  readonly dropout: number;
  /** What latents of images are multiplied by; as inference does unless given. */
  readonly scale?: ConditionScale;
};

/** Images that go through the encoder at once. */
const AT_ONCE = 8;

/** The image in latent frame 0 and zeros behind it, or zeros throughout for samples whose image is dropped. */
export function firstFrames(setting: FirstFrameSetting, engine: Engine): Conditioner {
  const { config, folder, seed, dropout, scale = config.invertScale ? "inverted" : "scaled" } = setting;
  const factor = conditionFactor(scale, config.scalingFactor);
  const encoders = clipEncoders({ config, folder, batch: AT_ONCE }, engine);
  const conditionFrom = (moments: Moments, step: number, { place, frames }: ConditionedSample) => {
    const all = new Float32Array(frames * sizeOf(moments.shape));
    const [isKept] = keptImages({ seed, step, probability: dropout }, place, 1);
    const rng = rngFor(seed, "posterior of an image", step, place);
    if (isKept) all.set(latentsFrom(moments, rng, factor));
    return all;
  };
  return {
    latents: async (step, samples) => {
      const found = new Map<ConditionedSample, Float32Array>();
      for (const group of groupsOf(samples)) {
        const moments = await encoded(setting, encoders, step, group);
        for (const [i, sample] of group.entries()) found.set(sample, conditionFrom(moments[i], step, sample));
      }
      return samples.map((sample) => found.get(sample)!);
    },
    close: encoders.close,
  };
}

/** Samples whose pictures are of one size, as many as are encoded at once. */
function groupsOf(samples: readonly ConditionedSample[]): ConditionedSample[][] {
  const groups: ConditionedSample[][] = [];
  for (const pixels of new Set(samples.map(({ size }) => showPixels(size)))) {
    const own = samples.filter(({ size }) => showPixels(size) === pixels);
    for (let start = 0; start < own.length; start += AT_ONCE) groups.push(own.slice(start, start + AT_ONCE));
  }
  return groups;
}

/** Posteriors `[1, C, h, w]` of the first frames of a group with noise; places that no sample takes stay empty. */
async function encoded(
  { clips, seed, config }: FirstFrameSetting,
  { encode }: ClipEncoders,
  step: number,
  group: readonly ConditionedSample[],
): Promise<Moments[]> {
  const images = clipShape({ ...group[0].size, frames: AT_ONCE }, config);
  const pixels = new Float32Array(sizeOf(images));
  for (const [i, { place, index, size }] of group.entries()) {
    const image = await clips.firstFrame(index, size);
    const noisy = withImageNoise(image, "pixels of an image", { seed, step }, place);
    pixels.set(noisy, i * image.length);
  }
  const { shape, mean, logVariance } = await encode(images, pixels);
  const one = sizeOf(shape.slice(1));
  return group.map((_, i) => ({
    shape: shape.with(0, 1),
    mean: mean.slice(i * one, (i + 1) * one),
    logVariance: logVariance.slice(i * one, (i + 1) * one),
  }));
}
