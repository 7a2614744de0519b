/** @file Text to video: prompt in, events out, the last of them the frames. */
import { ConfigError } from "../errors.ts";
import { showShape } from "../graph/shape.ts";
import { leadingFrames } from "../models/transformer/grid.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import { clipSize, latentFrames, SPATIAL_RATIO } from "./clip-size.ts";
import type { PipelineEvent } from "./events.ts";
import { finish, generate, noiseOrGiven, requireTiling } from "./generate.ts";
import { type GenerateOptions, hasOwnStates } from "./generate-options.ts";
import { requireKind, sizesOf } from "./mode.ts";
import type { Pipeline } from "./pipeline.ts";
import { startOf } from "./recipe.ts";

/** What to make from a prompt alone. */
export type TextToVideoOptions = GenerateOptions;

const NAME = "text-to-video";

/**
 * Makes a video. Events come as the work proceeds: "started", "encoded", "step" for every step, "latents", "frames" as they are
 * decoded, "done". Dropping the generator or firing `signal` stops the work at the next segment.
 * @throws ConfigError for impossible options, CancelledError after `signal`, WeightsError, SessionError
 */
export async function* textToVideo(
  pipeline: Pipeline,
  options: TextToVideoOptions,
): AsyncGenerator<PipelineEvent> {
  if (options.steps === 0) {
    yield* decodeOnly(pipeline, options);
    return;
  }
  const { checkpoint } = pipeline;
  const { config } = checkpoint.transformer;
  requireKind(checkpoint, NAME, "text");
  if (options.prompt.trim() === "" && !hasOwnStates(options))
    throw new ConfigError("the prompt is empty; describe the video in a sentence or more");
  yield* generate(pipeline, options, {
    name: NAME,
    ...sizesOf(config, clipSize(config, options)),
    start: async ({ shape, rng }) => ({ latents: noiseOrGiven(options, shape, rng) }),
  });
}

/** Frames of latents that an earlier run has saved; works with the checkpoint of any mode. */
async function* decodeOnly(pipeline: Pipeline, options: TextToVideoOptions): AsyncGenerator<PipelineEvent> {
  const started = performance.now();
  requireTiling(pipeline, options);
  const latents = decodableLatents(pipeline, options);
  const counts = countsOf(pipeline, options, latents);
  const [height, width] = latents.shape.slice(-2).map((side) => side * SPATIAL_RATIO);
  yield startOf(pipeline.checkpoint, options, { name: NAME, size: { width, height } });
  yield* finish(pipeline, options, latents, { started, ...counts });
}

/** What the number of frames, where it is given, says of the latents: which of them are padding. */
function countsOf(
  { checkpoint }: Pipeline,
  { frames }: TextToVideoOptions,
  { shape }: HostTensor,
): { readonly padding?: number; readonly frames?: number } {
  const { config } = checkpoint.transformer;
  if (frames === undefined) return {};
  const { temporalRatio } = config;
  const own = latentFrames(config, frames);
  const padding = shape[1] - own;
  const isWhole = (frames - 1) % temporalRatio === 0 || (own % 2 === 0 && frames === own * temporalRatio);
  if (isWhole && (padding === 0 || padding === leadingFrames(config, own))) return { padding, frames };
  throw new ConfigError(
    `frames is ${frames}, but the latents have ${shape[1]} frames, which do not decode to that; leave frames out`,
  );
}

function decodableLatents({ checkpoint }: Pipeline, { latents }: TextToVideoOptions): HostTensor {
  if (latents === undefined)
    throw new ConfigError(
      "steps is 0, which only decodes latents, but no latents were given; steps must be 1 to 1000",
    );
  const channels = checkpoint.transformer.config.outChannels;
  if (latents.shape.length !== 5 || latents.shape[2] !== channels || latents.shape[0] !== 1)
    throw new ConfigError(
      `latents to decode must be [1, F, ${channels}, h, w] for this checkpoint, got ${showShape(latents.shape)}`,
    );
  return latents;
}
