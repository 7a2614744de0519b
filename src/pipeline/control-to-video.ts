/** @file Control to video: a clip of edges, depths or poses says what moves where (CogVideoX-Fun Control). */
import type { ClipSource } from "../media/pictures.ts";
import { type FitOptions, type SourceClip, sourceVideo } from "./clip-source.ts";
import { scaledBy } from "./encode.ts";
import type { PipelineEvent } from "./events.ts";
import { encodeStage, generate, noiseOrGiven } from "./generate.ts";
import type { GenerateOptions } from "./generate-options.ts";
import { type Mode, requireKind, sizeOfPixels, sizesOf } from "./mode.ts";
import type { Pipeline } from "./pipeline.ts";

/** What to make along a control video. */
export type ControlToVideoOptions = GenerateOptions &
  FitOptions & {
    /** Its first frames are used: as many as `frames` says, or as the checkpoint was trained for. */
    readonly control: ClipSource;
  };

const NAME = "control-to-video";

/**
 * Makes a video that follows a control video; events as `textToVideo`, with "source" after "started".
 * @throws ConfigError for impossible options, an unreadable video or a checkpoint of another mode; CancelledError
 *   after `signal`, WeightsError, SessionError
 */
export async function* controlToVideo(
  pipeline: Pipeline,
  options: ControlToVideoOptions,
): AsyncGenerator<PipelineEvent> {
  const { checkpoint } = pipeline;
  const { config } = checkpoint.transformer;
  requireKind(checkpoint, NAME, "control");
  const control = await sourceVideo("control video", options.control, config, options);
  yield* generate(pipeline, options, controlMode(pipeline, options, control));
}

/** Control to video as a mode of `generate`, for a control video at the clip's size. */
export function controlMode(
  pipeline: Pipeline,
  options: Omit<ControlToVideoOptions, "prompt" | "control">,
  { pixels, event }: SourceClip,
): Mode {
  const { vae, transformer } = pipeline.checkpoint;
  return {
    name: NAME,
    ...sizesOf(transformer.config, sizeOfPixels(pixels)),
    sources: [event],
    recipe: { fit: event.fit },
    start: async ({ shape, rng }) => {
      const latents = noiseOrGiven(options, shape, rng);
      const encoded = await encodeStage(pipeline, options, pixels); // the mean: control is not random
      const { data } = scaledBy(encoded, vae.config.scalingFactor);
      return { latents, condition: { dtype: "f32", shape, data } };
    },
  };
}
