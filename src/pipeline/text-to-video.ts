/** @file Text to video: prompt in, events out, the last of them the frames. */

import { type Guidance, isGuided } from "../diffusion/guidance.ts";
import { createRng, drawNormals } from "../diffusion/noise.ts";
import { startRun } from "../diffusion/sampler.ts";
import { samplerFor } from "../diffusion/sampler-for.ts";
import { ConfigError } from "../errors.ts";
import { sameShape, showShape, sizeOf } from "../graph/shape.ts";
import { tilingFor } from "../models/vae/tiling.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import { clipSize, latentSize } from "./clip-size.ts";
import { decodeLatents } from "./decode.ts";
import { denoise } from "./denoise.ts";
import { Denoiser } from "./denoiser.ts";
import type { PipelineEvent, Stage } from "./events.ts";
import type { Pipeline } from "./pipeline.ts";
import { encodeTokens, tokenize } from "./prompt.ts";
import { startOf } from "./recipe.ts";
import type { SegmentListener } from "./run-hooks.ts";
import { defaults, type TextToVideoOptions } from "./text-to-video-options.ts";

/**
 * Makes a video. Events come as the work proceeds: "started", "encoded", "step" for every step, "latents", "frames" as they are
 * decoded, "done". Dropping the generator or firing `signal` stops the work at the next segment.
 * @throws ConfigError for impossible options, CancelledError after `signal`, WeightsError, SessionError
 */
export async function* textToVideo(
  pipeline: Pipeline,
  options: TextToVideoOptions,
): AsyncGenerator<PipelineEvent> {
  const started = performance.now();
  // A tiling that does not work out should be refused now and not when the latents are there.
  if (options.tiling) tilingFor(pipeline.checkpoint.vae.config, "decode");
  yield startOf(pipeline.checkpoint, options);
  const latents = yield* makeLatents(pipeline, options);
  yield { kind: "latents", latents };
  if (!options.latentsOnly) {
    const { checkpoint, engine } = pipeline;
    const hooks = { signal: options.signal, onSegment: listener(options, "decode") };
    yield* decodeLatents(engine, checkpoint, latents, { ...hooks, tiling: options.tiling });
  }
  yield { kind: "done", seconds: secondsSince(started) };
}

async function* makeLatents(
  pipeline: Pipeline,
  options: TextToVideoOptions,
): AsyncGenerator<PipelineEvent, HostTensor> {
  const { checkpoint } = pipeline;
  const { config } = checkpoint.transformer;
  const { steps = defaults.steps, guidance: scale = defaults.guidance } = options;
  requireTextToVideo(pipeline);
  requirePrompt(options);
  if (steps === 0) return decodableLatents(pipeline, options);
  const sampler = samplerFor(checkpoint.scheduler, options.scheduler);
  const plan = sampler.prepare(steps);
  const size = latentSize(config, clipSize(config, options));
  const shape = [1, size.frames, config.inChannels, size.height, size.width];
  const rng = createRng(options.seed ?? defaults.seed);
  const noise = options.latents ? givenLatents(options.latents, shape) : drawNormals(rng, sizeOf(shape));
  const guidance: Guidance = { scale, dynamic: options.dynamicGuidance ?? false };
  const text = yield* encodePrompts(pipeline, options, isGuided(guidance));
  const [batch, textLength] = text.shape;
  const denoiser = new Denoiser(pipeline.engine, config, checkpoint.transformer.weights, {
    ...size,
    batch,
    textLength,
  });
  try {
    const run = { denoiser, sampler, plan, guidance, text, shape };
    const hooks = { signal: options.signal, onSegment: listener(options, "denoise") };
    let state = startRun(noise, rng);
    let before = performance.now();
    for await (state of denoise(run, state, hooks)) {
      const { step } = state;
      const timestep = plan.timesteps[step - 1];
      yield {
        kind: "step",
        step,
        steps: plan.timesteps.length,
        timestep,
        seconds: secondsSince(before),
        state,
      };
      before = performance.now();
    }
    return { dtype: "f32", shape, data: state.latents };
  } finally {
    await denoiser.close();
    await pipeline.engine.trim();
  }
}

async function* encodePrompts(
  { checkpoint, tokenizer, engine }: Pipeline,
  options: TextToVideoOptions,
  guided: boolean,
): AsyncGenerator<PipelineEvent, HostTensor> {
  const started = performance.now();
  const { maxTextLength } = checkpoint.transformer.config;
  const texts = guided
    ? [options.negativePrompt ?? defaults.negativePrompt, options.prompt]
    : [options.prompt];
  const { ids, truncated } = tokenize(tokenizer, texts, maxTextLength);
  const hooks = { signal: options.signal, onSegment: listener(options, "text") };
  const states = await encodeTokens(engine, checkpoint, ids, hooks);
  await engine.trim();
  yield { kind: "encoded", truncated: truncated.at(-1) ?? null, seconds: secondsSince(started) };
  return states;
}

function requireTextToVideo({ checkpoint: { transformer, folder, pipelineClass } }: Pipeline): void {
  const { inChannels, outChannels } = transformer.config;
  if (inChannels !== outChannels)
    throw new ConfigError(
      `${folder} holds a ${pipelineClass} whose transformer takes ${inChannels} channels; text to video needs a model ` +
        `that takes the ${outChannels} it makes`,
    );
}

function requirePrompt({ prompt, steps, latents }: TextToVideoOptions): void {
  const onlyDecodes = steps === 0 && latents !== undefined;
  if (!onlyDecodes && prompt.trim() === "")
    throw new ConfigError("the prompt is empty; describe the video in a sentence or more");
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

function givenLatents({ shape: given, data }: HostTensor, shape: readonly number[]): Float32Array {
  if (!sameShape(given, shape))
    throw new ConfigError(
      `latents must be ${showShape(shape)} for this size and checkpoint, got ${showShape(given)}; ` +
        "padding frames are part of them",
    );
  return data as Float32Array;
}

function listener({ onSegment }: TextToVideoOptions, stage: Stage): SegmentListener {
  return (name, done, total) => onSegment?.({ stage, name, done, total });
}

function secondsSince(start: number): number {
  return (performance.now() - start) / 1000;
}
