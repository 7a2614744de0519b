/** @file Inpainting: a clip between a first and a last picture (CogVideoX-Fun InP). */
import { drawNormals, type TorchRng } from "../diffusion/noise.ts";
import { ConfigError } from "../errors.ts";
import { sizeOf } from "../graph/shape.ts";
import type { PictureSource } from "../media/pictures.ts";
import type { TransformerConfig } from "../models/transformer/config.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import { joinChannels } from "./clip-layout.ts";
import { type ClipSize, inpaintSize, latentFrames, paddingFrames } from "./clip-size.ts";
import { type FitOptions, type SourceClip, sourceImage } from "./clip-source.ts";
import { scaledBy } from "./encode.ts";
import type { PipelineEvent } from "./events.ts";
import { encodeStage, generate, noiseOrGiven } from "./generate.ts";
import type { GenerateOptions } from "./generate-options.ts";
import { type Mode, requireKind, sizesOf } from "./mode.ts";
import type { Pipeline } from "./pipeline.ts";

/** What to make between two pictures; either may be missing, and without both the prompt alone decides. */
export type InpaintVideoOptions = GenerateOptions &
  FitOptions & {
    /** The first frame. */
    readonly startImage?: PictureSource;
    /** The last frame. */
    readonly endImage?: PictureSource;
    /** Standard deviation of noise on the pictures; 0.0563 unless given where the checkpoint was trained so, else 0. */
    readonly imageNoise?: number;
  };

const NAME = "inpainting";

/** The reference's default. */
const IMAGE_NOISE = 0.0563;

/**
 * Makes a video that begins and ends with given pictures; events as `textToVideo`, with "source" for each picture.
 * @throws ConfigError for impossible options, an unreadable picture or a checkpoint of another mode; CancelledError
 *   after `signal`, WeightsError, SessionError
 */
export async function* inpaintVideo(
  pipeline: Pipeline,
  options: InpaintVideoOptions,
): AsyncGenerator<PipelineEvent> {
  const { checkpoint } = pipeline;
  const { config } = checkpoint.transformer;
  requireKind(checkpoint, NAME, "inpaint");
  const { startImage, endImage, fit } = options;
  const size = inpaintSize(config, options);
  if (endImage !== undefined && size.frames === 1)
    throw new ConfigError("frames is 1, which has no place for an end image; ask for at least 9");
  const read = (what: string, source?: PictureSource) =>
    source === undefined ? null : sourceImage(what, source, size, fit);
  const ends = { start: await read("start image", startImage), end: await read("end image", endImage) };
  yield* generate(pipeline, options, inpaintMode(pipeline, options, size, ends));
}

/** The pictures at the ends of a clip, at its size. */
export type Ends = { readonly start: SourceClip | null; readonly end: SourceClip | null };

/** Inpainting as a mode of `generate`. */
export function inpaintMode(
  pipeline: Pipeline,
  options: Omit<InpaintVideoOptions, "prompt">,
  size: ClipSize,
  ends: Ends,
): Mode {
  const { transformer } = pipeline.checkpoint;
  const { imageNoise = transformer.config.noisyInpaint ? IMAGE_NOISE : 0 } = options;
  const sources = [ends.start, ends.end].flatMap((end) => (end === null ? [] : [end.event]));
  return {
    name: NAME,
    ...sizesOf(transformer.config, size),
    sources,
    recipe: { imageNoise, fit: sources[0]?.fit ?? null, pictures: sources.map(({ what }) => what) },
    start: async ({ shape, rng }) => {
      const latents = noiseOrGiven(options, shape, rng);
      return {
        latents,
        condition: await conditionOf(pipeline, options, { size, ends, imageNoise, shape, rng }),
      };
    },
  };
}

type Inpainting = {
  readonly size: ClipSize;
  readonly ends: Ends;
  readonly imageNoise: number;
  readonly shape: readonly number[];
  readonly rng: TorchRng;
};

/**
 * The mask `[1, F, 1, h, w]` with the latents of the known pixels behind it; zeros where nothing is known. Where temporal
 * patches need a leading frame, it is the first one again, as models are trained.
 */
async function conditionOf(
  pipeline: Pipeline,
  options: Omit<InpaintVideoOptions, "prompt">,
  { size, ends, imageNoise, shape, rng }: Inpainting,
): Promise<HostTensor> {
  const { transformer, vae } = pipeline.checkpoint;
  const [, frames, channels, height, width] = shape;
  const known = Array.from({ length: size.frames }, () => 0);
  if (ends.start !== null) known[0] = 1;
  if (ends.end !== null) known[size.frames - 1] = 1;
  const maskShape = [1, frames, 1, height, width];
  const mask = new Float32Array(sizeOf(maskShape));
  const latents = new Float32Array(sizeOf(shape));
  if (known.includes(1)) {
    const plane = height * width;
    const padding = paddingFrames(transformer.config, size);
    const values = maskOfLatents(known, transformer.config);
    const pixels = knownPixels(size, ends, { imageNoise, rng });
    const { data } = scaledBy(await encodeStage(pipeline, options, pixels), vae.config.scalingFactor);
    for (let f = 0; f < frames; f++) {
      const from = Math.max(0, f - padding);
      mask.fill(values[from] * Math.fround(vae.config.scalingFactor), f * plane, (f + 1) * plane);
      const frame = (data as Float32Array).subarray(from * channels * plane, (from + 1) * channels * plane);
      latents.set(frame, f * channels * plane);
    }
  }
  return joinChannels({ dtype: "f32", shape: maskShape, data: mask }, { dtype: "f32", shape, data: latents });
}

/**
 * How much each latent frame is known, 0 to 1, from what is known of the pixel frames: the first latent is the first
 * frame, the others follow from the remaining frames by linear interpolation. Between 4 frames that looks at the two in
 * the middle, so that a single last frame leaves no trace in the mask, as in the reference.
 */
export function maskOfLatents(
  known: readonly number[],
  config: Pick<TransformerConfig, "temporalRatio">,
): number[] {
  const count = latentFrames(config as TransformerConfig, known.length);
  const rest = known.slice(1);
  const ratio = rest.length / (count - 1);
  const others = Array.from({ length: count - 1 }, (_, i) => {
    const at = Math.max(0, (i + 0.5) * ratio - 0.5);
    const below = Math.floor(at);
    const share = at - below;
    return rest[below] * (1 - share) + rest[Math.min(below + 1, rest.length - 1)] * share;
  });
  return [known[0], ...others];
}

/** Pixels `[T, 3, H, W]`: the pictures at the ends with their noise, black (-1) between. */
function knownPixels(
  { frames, height, width }: ClipSize,
  { start, end }: Ends,
  { imageNoise, rng }: Pick<Inpainting, "imageNoise" | "rng">,
): HostTensor {
  const frame = 3 * height * width;
  const data = new Float32Array(frames * frame).fill(-1);
  if (start !== null) data.set(start.pixels.data as Float32Array);
  if (end !== null) data.set(end.pixels.data as Float32Array, (frames - 1) * frame);
  // Black pixels of the pictures stay black too: the reference cannot tell them from unknown ones.
  if (imageNoise > 0) {
    const noise = drawNormals(rng, data.length);
    for (let i = 0; i < data.length; i++) if (data[i] !== -1) data[i] += Math.fround(imageNoise * noise[i]);
  }
  return { dtype: "f32", shape: [frames, 3, height, width], data };
}
