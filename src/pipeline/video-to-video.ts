/** @file Video to video: the clip begins as another one, covered in noise. */
import { addNoise, drawNormals } from "../diffusion/noise.ts";
import { ConfigError } from "../errors.ts";
import { sizeOf } from "../graph/shape.ts";
import type { ClipSource } from "../media/pictures.ts";
import { type FitOptions, type SourceClip, sourceVideo } from "./clip-source.ts";
import { scaledBy } from "./encode.ts";
import type { PipelineEvent } from "./events.ts";
import { encodeStage, generate } from "./generate.ts";
import type { GenerateOptions } from "./generate-options.ts";
import { type Mode, requireKind, sizeOfPixels, sizesOf } from "./mode.ts";
import type { Pipeline } from "./pipeline.ts";

/** What to make of a video. The prompt may be empty. */
export type VideoToVideoOptions = Omit<GenerateOptions, "latents"> &
  FitOptions & {
    /** Its first frames are used: as many as `frames` says, or as the checkpoint was trained for. */
    readonly video: ClipSource;
    /** Share of the steps that are done, above 0 to 1; 0.8 unless given. The lower, the closer to the video. */
    readonly strength?: number;
  };

const NAME = "video-to-video";

/** The reference's default. */
const STRENGTH = 0.8;

/**
 * Makes a video from another one and a prompt; events as `textToVideo`, with "source" after "started".
 * @throws ConfigError for impossible options, an unreadable video or a checkpoint of another mode; CancelledError
 *   after `signal`, WeightsError, SessionError
 */
export async function* videoToVideo(
  pipeline: Pipeline,
  options: VideoToVideoOptions,
): AsyncGenerator<PipelineEvent> {
  const { checkpoint } = pipeline;
  const { config } = checkpoint.transformer;
  requireKind(checkpoint, NAME, "text");
  if ("latents" in options && options.latents !== undefined)
    throw new ConfigError("video to video starts from the video; leave the latents out");
  const video = await sourceVideo("video", options.video, config, options);
  yield* generate(pipeline, options, videoMode(pipeline, options, video));
}

/** Video to video as a mode of `generate`, for a video at the clip's size. */
export function videoMode(
  pipeline: Pipeline,
  { strength = STRENGTH, ...options }: Omit<VideoToVideoOptions, "prompt" | "video">,
  { pixels, event }: SourceClip,
): Mode {
  const { vae, transformer } = pipeline.checkpoint;
  return {
    name: NAME,
    ...sizesOf(transformer.config, sizeOfPixels(pixels)),
    strength,
    sources: [event],
    recipe: { strength, fit: event.fit },
    start: async ({ shape, rng, plan }) => {
      const encoded = await encodeStage(pipeline, options, pixels, rng); // the reference draws for the video first
      const clean = scaledBy(encoded, vae.config.scalingFactor).data as Float32Array;
      return { latents: addNoise(plan.schedule, clean, drawNormals(rng, sizeOf(shape)), plan.timesteps[0]) };
    },
  };
}
