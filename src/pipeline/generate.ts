/** @file What all modes of generation share: prompt in, steps, frames out, as events. */
import { type Guidance, isGuided } from "../diffusion/guidance.ts";
import { createRng, drawNormals, type TorchRng } from "../diffusion/noise.ts";
import { type SamplerState, startRun } from "../diffusion/sampler.ts";
import { samplerFor } from "../diffusion/sampler-for.ts";
import { ConfigError } from "../errors.ts";
import { sameShape, showShape, sizeOf } from "../graph/shape.ts";
import { tilingFor } from "../models/vae/tiling.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import { decodeLatents } from "./decode.ts";
import { type DenoiseRun, denoise } from "./denoise.ts";
import { Denoiser } from "./denoiser.ts";
import { encodePixels } from "./encode.ts";
import type { PipelineEvent, Stage } from "./events.ts";
import { defaults, type GenerateOptions } from "./generate-options.ts";
import type { Mode } from "./mode.ts";
import type { Pipeline } from "./pipeline.ts";
import { encodeTokens, tokenize } from "./prompt.ts";
import { startOf } from "./recipe.ts";
import type { RunHooks } from "./run-hooks.ts";

/**
 * Makes a video in a mode. Dropping the generator or firing `signal` stops the work at the next segment.
 * @throws ConfigError for impossible options, CancelledError after `signal`, WeightsError, SessionError
 */
export async function* generate(
  pipeline: Pipeline,
  options: GenerateOptions,
  mode: Mode,
): AsyncGenerator<PipelineEvent> {
  const started = performance.now();
  requireTiling(pipeline, options);
  yield startOf(pipeline.checkpoint, options, mode);
  yield* mode.sources ?? [];
  const latents = yield* makeLatents(pipeline, options, mode);
  yield* finish(pipeline, options, latents, { started, padding: mode.padding });
}

/** Everything after the steps: the latents, their frames, the end. */
export async function* finish(
  { engine, checkpoint }: Pipeline,
  options: GenerateOptions,
  latents: HostTensor,
  { started, padding }: { readonly started: number; readonly padding?: number },
): AsyncGenerator<PipelineEvent> {
  yield { kind: "latents", latents };
  if (!options.latentsOnly) {
    const { tiling } = options;
    yield* decodeLatents(engine, checkpoint, latents, { ...hooksOf(options, "decode"), tiling, padding });
  }
  yield { kind: "done", seconds: secondsSince(started) };
}

async function* makeLatents(
  pipeline: Pipeline,
  options: GenerateOptions,
  mode: Mode,
): AsyncGenerator<PipelineEvent, HostTensor> {
  const { guidance: scale = defaults.guidance, dynamicGuidance } = options;
  const guidance: Guidance = { scale, dynamic: dynamicGuidance ?? false };
  const run = await begin(pipeline, options, mode);
  const text = yield* encodePrompts(pipeline, options, isGuided(guidance));
  return yield* sample(pipeline, options, { ...run, guidance, text });
}

/** The run before its first step: sampler, plan, state, and what the model sees beside the latents. */
export async function begin(
  { checkpoint: { scheduler, transformer } }: Pipeline,
  { steps = defaults.steps, seed = defaults.seed, scheduler: choice }: Omit<GenerateOptions, "prompt">,
  { latents: size, strength, start }: Mode,
) {
  const sampler = samplerFor(scheduler, choice);
  const plan = sampler.prepare(steps, { strength });
  const shape = [1, size.frames, transformer.config.outChannels, size.height, size.width];
  const rng = createRng(seed);
  const { latents, condition } = await start({ shape, rng, plan });
  return { sampler, plan, shape, condition, state: startRun(latents, rng) };
}

/** The steps of a run; gives the latents `[1, F, C, h, w]` after the last. */
export async function* sample(
  { checkpoint, engine }: Pipeline,
  options: Omit<GenerateOptions, "prompt">,
  {
    state: first,
    ...run
  }: Omit<DenoiseRun, "denoiser"> & { readonly state: SamplerState; readonly text: HostTensor },
): AsyncGenerator<Extract<PipelineEvent, { kind: "step" }>, HostTensor> {
  const { config, weights } = checkpoint.transformer;
  const { shape, text, plan } = run;
  const [, frames, , height, width] = shape;
  const [batch, textLength] = text.shape;
  const { loraScale } = options;
  const call = { frames, height, width, batch, textLength, loraScale };
  const denoiser = new Denoiser(engine, config, weights, call);
  try {
    let state = first;
    let before = performance.now();
    for await (state of denoise({ ...run, denoiser }, first, hooksOf(options, "denoise"))) {
      const { step } = state;
      const seconds = secondsSince(before);
      const timestep = plan.timesteps[step - 1];
      yield { kind: "step", step, steps: plan.timesteps.length, timestep, seconds, state };
      before = performance.now();
    }
    return { dtype: "f32", shape, data: state.latents };
  } finally {
    await denoiser.close();
    await engine.trim();
  }
}

async function* encodePrompts(
  { checkpoint, tokenizer, engine }: Pipeline,
  options: GenerateOptions,
  guided: boolean,
): AsyncGenerator<PipelineEvent, HostTensor> {
  const started = performance.now();
  const { maxTextLength } = checkpoint.transformer.config;
  const texts = guided
    ? [options.negativePrompt ?? defaults.negativePrompt, options.prompt]
    : [options.prompt];
  const { ids, truncated } = tokenize(tokenizer, texts, maxTextLength);
  const states = await encodeTokens(engine, checkpoint, ids, hooksOf(options, "text"));
  await engine.trim();
  yield { kind: "encoded", truncated: truncated.at(-1) ?? null, seconds: secondsSince(started) };
  return states;
}

/** The latents a caller gave, or noise `shape` from the generator, which only then moves on. */
export function noiseOrGiven(
  { latents }: Pick<GenerateOptions, "latents">,
  shape: readonly number[],
  rng: TorchRng,
): Float32Array {
  if (latents === undefined) return drawNormals(rng, sizeOf(shape));
  if (!sameShape(latents.shape, shape))
    throw new ConfigError(
      `latents must be ${showShape(shape)} for this size and checkpoint, got ${showShape(latents.shape)}; ` +
        "padding frames are part of them",
    );
  return latents.data as Float32Array;
}

/** Pixels `[T, 3, H, W]` to latents `[F, L, h, w]` as a stage of a run: a sample with `rng`, else their mean. */
export function encodeStage(
  { engine, checkpoint }: Pipeline,
  options: Omit<GenerateOptions, "prompt">,
  pixels: HostTensor,
  rng?: TorchRng,
): Promise<HostTensor> {
  const { tiling } = options;
  return encodePixels(engine, checkpoint, pixels, { ...hooksOf(options, "encode"), tiling, rng });
}

/** A tiling that does not work out should be refused now and not when the latents are there. */
export function requireTiling({ checkpoint }: Pipeline, { tiling }: GenerateOptions): void {
  if (tiling) tilingFor(checkpoint.vae.config, "decode");
}

function hooksOf({ signal, onSegment }: Omit<GenerateOptions, "prompt">, stage: Stage): RunHooks {
  return { signal, onSegment: (name, done, total) => onSegment?.({ stage, name, done, total }) };
}

function secondsSince(start: number): number {
  return (performance.now() - start) / 1000;
}
