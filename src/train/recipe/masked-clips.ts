/** @file What inpainting models see of clips while they train: a mask and what it leaves, drawn and encoded for every step anew. */
// F latent frames, C latent channels, h and w latent height and width
import { latentsFrom } from "../../diffusion/posterior.ts";
import { spatialRatio, temporalRatio, type VaeConfig } from "../../models/vae/config.ts";
import { withImageNoise } from "../diffusion/image-conditioning.ts";
import { drawMask, dropsCondition, type MaskShares } from "../diffusion/mask-bank.ts";
import { knownLatents, maskedPixels } from "../diffusion/mask-latents.ts";
import { padFrames } from "../diffusion/temporal-padding.ts";
import type { Engines } from "../learner.ts";
import { latentShape } from "../vae/codec.ts";
import { type ClipEncoders, clipEncoders } from "./clip-encoder.ts";
import { clipShape } from "./clip-size.ts";
import { type ClipSource, framesOf } from "./clips.ts";
import type { ConditionedSample, Conditioner } from "./conditioner.ts";

export type MaskedClipSetting = {
  readonly config: VaeConfig;
  /** The run's model. */
  readonly folder: string;
  readonly clips: ClipSource;
  readonly seed: number;
  /** Whether what is known has a little noise, as the model's configuration says. */
  readonly isNoisy: boolean;
  /** How often kinds of masks are drawn; as CogVideoX-Fun trains unless given. */
  readonly masks?: MaskShares;
};

/**
 * The mask `[F, 1, h, w]` before the latents of what it leaves on the channel axis, as inference has them; zeros for nine
 * in ten samples of which nothing is left, which train as from text alone.
 */
export function maskedClips(setting: MaskedClipSetting, engines: Engines): Conditioner {
  const { config, folder, clips, seed, masks } = setting;
  const encoders = engines.map((engine) => clipEncoders({ config, folder, batch: 1 }, engine));
  const conditionOf = async (
    step: number,
    sample: ConditionedSample,
    { encode }: ClipEncoders,
  ): Promise<Float32Array> => {
    const { place, index, size } = sample;
    const shape = clipShape(size, config);
    const mask = drawMask({ seed, step, sample: place }, size, masks);
    const [frames, channels, height, width] = latentShape(shape, config);
    const plane = height * width;
    if (dropsCondition(mask, { seed, step, sample: place }))
      return new Float32Array(sample.frames * (channels + 1) * plane);
    const pixels = maskedPixels(framesOf(await clips.pixels(index, size), size, 0, size.frames), mask);
    const moments = await encode(shape, setting.isNoisy ? withNoise(pixels, setting, step, place) : pixels);
    const known = knownLatents(mask, temporalRatio(config), spatialRatio(config));
    const all = joined(
      known.map((value) => value * Math.fround(config.scalingFactor)),
      latentsFrom(moments, null, config.scalingFactor),
      plane,
    );
    return padFrames(all, frames, sample.frames);
  };
  return {
    latents: async (step, samples) => {
      const found: Float32Array[] = [];
      const work = encoders.map(async (encoder, first) => {
        for (let i = first; i < samples.length; i += encoders.length)
          found[i] = await conditionOf(step, samples[i], encoder);
      });
      await Promise.all(work);
      return found;
    },
    close: async () => {
      for (const { close } of encoders) await close();
    },
  };
}

/** What is known is blurred by one sigma a sample; -1 stays what it is, for it may stand for what is not known. */
function withNoise(
  pixels: Float32Array,
  { seed }: MaskedClipSetting,
  step: number,
  place: number,
): Float32Array {
  const noisy = withImageNoise(pixels, "pixels of a masked clip", { seed, step }, place);
  return pixels.map((value, i) => (value === -1 ? value : noisy[i]));
}

/** Frame by frame, the mask and the latents behind it. */
function joined(known: Float32Array, latents: Float32Array, plane: number): Float32Array {
  const frames = known.length / plane;
  const width = latents.length / frames;
  const all = new Float32Array(known.length + latents.length);
  for (let frame = 0; frame < frames; frame++) {
    all.set(known.subarray(frame * plane, (frame + 1) * plane), frame * (plane + width));
    all.set(latents.subarray(frame * width, (frame + 1) * width), frame * (plane + width) + plane);
  }
  return all;
}
