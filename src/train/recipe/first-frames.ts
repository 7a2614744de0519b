/** @file What image-to-video models see of clips while they train: first frames with noise, encoded for every step anew. */
// F latent frames, C latent channels, h and w latent height and width
import { drawNormals } from "../../diffusion/noise.ts";
import { sizeOf } from "../../graph/shape.ts";
import type { PixelSize } from "../../media/frames.ts";
import type { VaeConfig } from "../../models/vae/config.ts";
import type { Engine } from "../../runtime/engine.ts";
import { latentsFrom, type Moments } from "../cache/moments.ts";
import {
  type ConditionScale,
  conditionFactor,
  imageNoiseSigmas,
  keptImages,
} from "../diffusion/image-conditioning.ts";
import { rngFor } from "../diffusion/random.ts";
import { type ClipEncoder, clipEncoder } from "./clip-encoder.ts";
import type { ClipSource } from "./clips.ts";
import type { ConditionedSample, Conditioner } from "./conditioner.ts";

/** All are of one size, whatever the sample says. */
type FirstFrameOf = Pick<ConditionedSample, "place" | "index">;

export type FirstFrameSetting = {
  readonly config: VaeConfig;
  /** The run's model. */
  readonly folder: string;
  readonly clips: ClipSource;
  readonly size: PixelSize;
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
  const { config, seed, dropout, scale = config.invertScale ? "inverted" : "scaled" } = setting;
  const factor = conditionFactor(scale, config.scalingFactor);
  const encoder = clipEncoder({ ...setting, shape: imagesShape(setting), batch: AT_ONCE }, engine);
  const conditioned = async (step: number, samples: readonly FirstFrameOf[], frames: number) => {
    const moments = await encoded(setting, encoder, step, samples);
    return samples.map(({ place }, i) => {
      const all = new Float32Array(frames * sizeOf(moments[i].shape));
      const [isKept] = keptImages({ seed, step, probability: dropout }, place, 1);
      const rng = rngFor(seed, "posterior of an image", step, place);
      if (isKept) all.set(latentsFrom(moments[i], rng, factor));
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
    close: encoder.close,
  };
}

/** Posteriors `[1, C, h, w]` of the first frames with noise; places that no sample takes stay empty. */
async function encoded(
  setting: FirstFrameSetting,
  encoder: ClipEncoder,
  step: number,
  samples: readonly FirstFrameOf[],
): Promise<Moments[]> {
  const image = sizeOf(imagesShape(setting).slice(1));
  const pixels = new Float32Array(AT_ONCE * image);
  for (const [i, sample] of samples.entries()) pixels.set(await noisyFrame(setting, step, sample), i * image);
  const { shape, mean, logVariance } = await encoder.encode(pixels);
  const one = sizeOf(shape.slice(1));
  return samples.map((_, i) => ({
    shape: shape.with(0, 1),
    mean: mean.slice(i * one, (i + 1) * one),
    logVariance: logVariance.slice(i * one, (i + 1) * one),
  }));
}

/** `[AT_ONCE, 3, H, W]` */
function imagesShape({ config, size }: FirstFrameSetting): readonly number[] {
  return [AT_ONCE, config.inChannels, size.height, size.width];
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
