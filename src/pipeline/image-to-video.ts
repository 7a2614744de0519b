/** @file Image to video: the clip begins with a picture. */
import { ConfigError } from "../errors.ts";
import { sizeOf } from "../graph/shape.ts";
import type { PictureSource } from "../media/pictures.ts";
import type { VaeConfig } from "../models/vae/config.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import { type ClipSize, clipSize } from "./clip-size.ts";
import { type FitOptions, type SourceClip, sourceImage } from "./clip-source.ts";
import { scaledBy } from "./encode.ts";
import type { PipelineEvent } from "./events.ts";
import { encodeStage, generate, noiseOrGiven } from "./generate.ts";
import type { GenerateOptions } from "./generate-options.ts";
import { type Mode, requireKind, sizesOf } from "./mode.ts";
import type { Pipeline } from "./pipeline.ts";

/** Every `ImageScaling`. */
export const imageScalings = ["scaled", "inverted", "unscaled"] as const;
/**
 * How the latents of the image relate to those of the VAE: times the scaling factor as all others ("scaled",
 * CogVideoX-5b-I2V), divided by it ("inverted", CogVideoX1.5-5B-I2V as released), or as they are ("unscaled",
 * CogVideoX1.5-5B-I2V in its original code).
 */
export type ImageScaling = (typeof imageScalings)[number];

/** What to make of a picture. The prompt may be empty. */
export type ImageToVideoOptions = GenerateOptions &
  FitOptions & {
    /** What becomes the first frame. */
    readonly image: PictureSource;
    /** What the checkpoint's VAE configuration says unless given. */
    readonly imageScaling?: ImageScaling;
  };

const NAME = "image-to-video";

/**
 * Makes a video that begins with an image; events as `textToVideo`, with "source" after "started".
 * @throws ConfigError for impossible options, an unreadable image or a checkpoint of another mode; CancelledError
 *   after `signal`, WeightsError, SessionError
 */
export async function* imageToVideo(
  pipeline: Pipeline,
  options: ImageToVideoOptions,
): AsyncGenerator<PipelineEvent> {
  const { checkpoint } = pipeline;
  requireKind(checkpoint, NAME, "image");
  const size = clipSize(checkpoint.transformer.config, options);
  const image = await sourceImage("image", options.image, size, options.fit);
  yield* generate(pipeline, options, imageMode(pipeline, options, size, image));
}

/** Image to video as a mode of `generate`, for an image at the clip's size. */
export function imageMode(
  pipeline: Pipeline,
  options: Omit<ImageToVideoOptions, "prompt" | "image">,
  size: ClipSize,
  { pixels, event }: SourceClip,
): Mode {
  const { vae, transformer } = pipeline.checkpoint;
  const scaling = options.imageScaling ?? trainedScaling(vae.config);
  const factor = factorOf(scaling, vae.config);
  return {
    name: NAME,
    ...sizesOf(transformer.config, size),
    sources: [event],
    recipe: { imageScaling: scaling, fit: event.fit },
    start: async ({ shape, rng }) => {
      const image = await encodeStage(pipeline, options, pixels, rng); // the reference draws for the image first
      const condition = firstFrame(scaledBy(image, factor), shape);
      return { latents: noiseOrGiven(options, shape, rng), condition };
    },
  };
}

/** The scaling of image latents that a checkpoint was trained with, as its configuration says. */
function trainedScaling({ invertScale }: VaeConfig): ImageScaling {
  return invertScale ? "inverted" : "scaled";
}

function factorOf(scaling: ImageScaling, { scalingFactor }: VaeConfig): number {
  const factors = { scaled: scalingFactor, inverted: 1 / scalingFactor, unscaled: 1 };
  if (scaling in factors) return factors[scaling];
  throw new ConfigError(`image scaling must be one of ${imageScalings.join(", ")}, got ${scaling}`);
}

/**
 * Latents `[1, L, h, w]` on the first frame of `shape`, zeros on all others. With temporal patches that is a padding
 * frame, which is dropped at decoding; the models were trained so.
 */
function firstFrame({ data }: HostTensor, shape: readonly number[]): HostTensor {
  const all = new Float32Array(sizeOf(shape));
  all.set(data as Float32Array);
  return { dtype: "f32", shape, data: all };
}
