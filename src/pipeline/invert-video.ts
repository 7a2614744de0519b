/** @file DDIM inversion: the noise that a video would have come from, and the video made anew beside it. */
import { createRng, drawNormals, type TorchRng } from "../diffusion/noise.ts";
import { startRun } from "../diffusion/sampler.ts";
import { samplerFor } from "../diffusion/sampler-for.ts";
import { ConfigError } from "../errors.ts";
import { sizeOf } from "../graph/shape.ts";
import type { ClipSource } from "../media/pictures.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import { counted, requireCache } from "./caches/run-cache.ts";
import { type FitOptions, type SourceClip, sourceVideo } from "./clip-source.ts";
import { scaledBy } from "./encode.ts";
import type { PipelineEvent } from "./events.ts";
import {
  conditionsOf,
  encodeStage,
  encodeTexts,
  finish,
  promptsOf,
  requirePlaces,
  requireTiling,
  sample,
  type Unprompted,
} from "./generate.ts";
import { defaults, type GenerateOptions, type PromptStates } from "./generate-options.ts";
import { requireLongVideo } from "./long-video/long-video.ts";
import { requireKind, sizeOfPixels, sizesOf } from "./mode.ts";
import type { Pipeline } from "./pipeline.ts";
import { startOf } from "./recipe.ts";

/** Which video to invert, and the prompt to make it anew with. */
export type InvertVideoOptions = Omit<GenerateOptions, "latents" | "stg"> &
  FitOptions & {
    /** Its first frames are used: as many as `frames` says, or as the checkpoint was trained for. */
    readonly video: ClipSource;
  };

const NAME = "inversion";

/**
 * Finds the noise of a video by running DDIM backwards, then makes the video anew from other noise and the prompt while
 * every block attends to the inverted clip at the same noise level: structure and motion stay, the prompt changes the
 * rest. Events as `textToVideo`, with "source" after "started", steps for both passes, and "inverted" between them.
 * @throws ConfigError for impossible options, an unreadable video or a checkpoint of another mode; CancelledError
 *   after `signal`, WeightsError, SessionError
 */
export async function* invertVideo(
  pipeline: Pipeline,
  options: InvertVideoOptions,
): AsyncGenerator<PipelineEvent> {
  const started = performance.now();
  const { checkpoint } = pipeline;
  const { config } = checkpoint.transformer;
  requireKind(checkpoint, NAME, "text");
  if ("latents" in options && options.latents !== undefined)
    throw new ConfigError("inversion starts from the video; leave the latents out");
  if (options.resume !== undefined) throw new ConfigError("an inversion cannot be resumed; start it anew");
  if ("stg" in options && options.stg !== undefined)
    throw new ConfigError("inversion does not work together with spatio-temporal guidance; leave stg out");
  if (options.discretisation === "sat")
    throw new ConfigError(
      "inversion goes back through diffusers' noise levels; leave the discretisation sat out",
    );
  requireTiling(pipeline, options);
  const video = await sourceVideo("video", options.video, config, options);
  const { steps = defaults.steps, cache } = options;
  await requireCache(cache, checkpoint, { steps, isGuidedPair: false });
  const { size, latents, padding } = sizesOf(config, sizeOfPixels(video.pixels));
  requireLongVideo(config, options.longVideo, { strength: 1 });
  requirePlaces(pipeline, { latents }, options);
  yield startOf(checkpoint, options, { name: NAME, size, recipe: { fit: video.event.fit } });
  yield video.event;
  const { prompt, negativePrompt = defaults.negativePrompt } = options;
  const texts = yield* encodeTexts(pipeline, options, ["", negativePrompt, prompt]);
  const remaking = invertAndRemake(pipeline, options, video, {
    empty: texts[0],
    ...promptsOf(options, texts),
  });
  const { result, evaluations } = yield* counted(remaking);
  yield* finish(pipeline, options, result, { started, padding, evaluations });
}

/** Both passes over a video at the clip's size, with the hidden states of "" and of the two prompts. */
export async function* invertAndRemake(
  pipeline: Pipeline,
  options: Unprompted,
  { pixels }: Pick<SourceClip, "pixels">,
  prompts: PromptStates & { readonly empty: HostTensor },
): AsyncGenerator<PipelineEvent, HostTensor> {
  const { scalingFactor } = pipeline.checkpoint.vae.config;
  const rng = createRng(options.seed ?? defaults.seed);
  const clean = scaledBy(await encodeStage(pipeline, options, pixels, rng), scalingFactor);
  const shape = [1, ...clean.shape];
  const trajectory = yield* invert(pipeline, options, { ...clean, shape }, { empty: prompts.empty, rng });
  yield { kind: "inverted", latents: { dtype: "f32", shape, data: trajectory[trajectory.length - 1] } };
  return yield* remake(pipeline, options, trajectory.reverse(), { shape, prompts, rng });
}

/**
 * DDIM backwards from clean latents; the latents after each step. The reference guides this pass from "" towards "",
 * which is no guidance at all, so that it does without.
 */
async function* invert(
  pipeline: Pipeline,
  options: Unprompted,
  { shape, data }: HostTensor,
  { empty, rng }: { readonly empty: HostTensor; readonly rng: TorchRng },
): AsyncGenerator<PipelineEvent, Float32Array[]> {
  const sampler = samplerFor(pipeline.checkpoint.scheduler, "inverse");
  const steps = sample(pipeline, options, {
    guidance: { scale: 1 },
    sampler,
    plan: sampler.prepare(options.steps ?? defaults.steps, { parity: options.parity }),
    shape,
    text: { negative: empty, positive: empty },
    state: startRun(data as Float32Array, rng),
  });
  const trajectory: Float32Array[] = [];
  for await (const event of steps) {
    trajectory.push(event.state.latents);
    yield { ...event, steps: 2 * event.steps };
  }
  return trajectory;
}

/** From fresh noise with the prompts, beside the latents of `reference`, which has one entry for every step. */
async function* remake(
  pipeline: Pipeline,
  options: Unprompted,
  reference: readonly Float32Array[],
  {
    shape,
    prompts,
    rng,
  }: { readonly shape: readonly number[]; readonly prompts: PromptStates; readonly rng: TorchRng },
): AsyncGenerator<PipelineEvent, HostTensor> {
  const sampler = samplerFor(pipeline.checkpoint.scheduler, options.scheduler);
  const steps = sample(pipeline, options, {
    ...conditionsOf(pipeline, options),
    sampler,
    plan: sampler.prepare(options.steps ?? defaults.steps, { parity: options.parity }),
    shape,
    text: prompts,
    state: startRun(drawNormals(rng, sizeOf(shape)), rng),
    reference,
  });
  let data: Float32Array = new Float32Array(0);
  for await (const event of steps) {
    data = event.state.latents;
    yield { ...event, step: event.steps + event.step, steps: 2 * event.steps };
  }
  return { dtype: "f32", shape, data };
}
