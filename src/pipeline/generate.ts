/** @file What all modes of generation share: prompt in, steps, frames out, as events. */
import { isGuided } from "../diffusion/guidance.ts";
import { createRng, drawNormals, type TorchRng } from "../diffusion/noise.ts";
import { type SamplerState, type SamplingPlan, startRun } from "../diffusion/sampler.ts";
import { samplerFor } from "../diffusion/sampler-for.ts";
import { checkedStg } from "../diffusion/stg.ts";
import { ConfigError } from "../errors.ts";
import { sameShape, showShape, sizeOf } from "../graph/shape.ts";
import type { TransformerConfig } from "../models/transformer/config.ts";
import { positionsFor } from "../models/transformer/positions/positions.ts";
import { tilingFor } from "../models/vae/tiling.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import type { Evaluations } from "./caches/evaluations.ts";
import { cacheOfStep, counted, denoiserFor, loadedCache, requireCache } from "./caches/run-cache.ts";
import { samplesOf, stackSamples } from "./clip-layout.ts";
import { decodeLatents } from "./decode.ts";
import {
  type Conditions,
  type DenoiseRun,
  denoise,
  type PromptedDenoiser,
  rowsOf,
  unguided,
  variationOf,
} from "./denoise.ts";
import type { Predictor } from "./denoiser.ts";
import { encodePixels } from "./encode.ts";
import type { PipelineEvent, Stage } from "./events.ts";
import { defaults, type GenerateOptions, type PromptStates } from "./generate-options.ts";
import { guidanceOf, needsNegative } from "./guidance-options.ts";
import { predictorOver, requireLongVideo, seenAtOnce, startingNoise } from "./long-video/long-video.ts";
import type { Mode } from "./mode.ts";
import type { Pipeline } from "./pipeline.ts";
import { encodeTokens, tokenize } from "./prompt.ts";
import { startOf } from "./recipe.ts";
import type { RunHooks } from "./run-hooks.ts";

/** Options of the stages that do not look at the prompt. */
export type Unprompted = Omit<GenerateOptions, "prompt">;

type StepEvent = Extract<PipelineEvent, { kind: "step" }>;

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
  const { longVideo, latents: given } = options;
  requireLongVideo(pipeline.checkpoint.transformer.config, longVideo, { ...mode, latents: given });
  requirePlaces(pipeline, mode, options);
  requireStates(pipeline, options);
  const conditions = conditionsOf(pipeline, options);
  const { steps = defaults.steps } = options;
  await requireCache(options.cache, pipeline.checkpoint, { steps, isGuidedPair: isGuidedPair(conditions) });
  yield startOf(pipeline.checkpoint, options, mode);
  yield* mode.sources ?? [];
  const { result, evaluations } = yield* counted(makeLatents(pipeline, options, mode));
  const { padding, size } = mode;
  yield* finish(pipeline, options, result, { started, padding, frames: size.frames, evaluations });
}

type Ending = {
  readonly started: number;
  readonly padding?: number;
  readonly frames?: number;
  readonly evaluations?: Evaluations | null;
};

/** Everything after the steps: the latents, their frames, the end. */
export async function* finish(
  { engine, checkpoint }: Pipeline,
  options: GenerateOptions,
  latents: HostTensor,
  { started, padding, frames, evaluations }: Ending,
): AsyncGenerator<PipelineEvent> {
  yield { kind: "latents", latents };
  if (!options.latentsOnly) {
    const work = { ...hooksOf(options, "decode"), tiling: options.tiling, padding, frames };
    yield* decodeLatents(engine, checkpoint, latents, work);
  }
  yield { kind: "done", seconds: secondsSince(started), ...(evaluations ? { evaluations } : {}) };
}

async function* makeLatents(
  pipeline: Pipeline,
  options: GenerateOptions,
  mode: Mode,
): AsyncGenerator<PipelineEvent, HostTensor> {
  const conditions = conditionsOf(pipeline, options);
  const run = await begin(pipeline, options, mode);
  if (run.state.step === run.plan.timesteps.length)
    return { dtype: "f32", shape: run.shape, data: run.state.latents };
  const text = yield* encodePrompts(pipeline, options);
  return yield* sample(pipeline, options, { ...conditions, ...run, text });
}

/** What every step of a run is given, as far as the options say. @throws ConfigError for guidance that cannot be */
export function conditionsOf({ checkpoint }: Pipeline, options: Unprompted): Conditions {
  const { config } = checkpoint.transformer;
  const guidance = guidanceOf(options, config);
  return { guidance, stg: checkedStg(options.stg, { layers: config.layers, guided: isGuided(guidance) }) };
}

/** The run before its first step: sampler, plan, state, and what the model sees beside the latents. */
export async function begin(
  { checkpoint: { scheduler, transformer } }: Pipeline,
  options: Unprompted,
  { latents: size, strength, start }: Pick<Mode, "latents" | "strength" | "start">,
) {
  const { steps = defaults.steps, seed = defaults.seed, parity, discretisation, resume, longVideo } = options;
  const sampler = samplerFor(scheduler, options.scheduler);
  const plan = sampler.prepare(steps, { strength, parity, discretisation });
  const shape = [1, size.frames, transformer.config.outChannels, size.height, size.width];
  const rng = createRng(seed);
  const { latents: drawn, condition } = await start({ shape, rng, plan });
  const latents = startingNoise(transformer.config, drawn, { frames: size.frames, rng }, longVideo);
  const state = resume ? resumable(resume, plan, latents.length) : startRun(latents, rng);
  return { sampler, plan, shape, condition, state };
}

/** @throws ConfigError for the state of a run of another size or length */
function resumable(state: SamplerState, { timesteps }: SamplingPlan, length: number): SamplerState {
  if (state.latents.length !== length || state.step > timesteps.length)
    throw new ConfigError(
      `the run to go on with has ${state.latents.length} numbers and has done ${state.step} steps, but the options ` +
        `ask for ${length} numbers and ${timesteps.length} steps; give the options it was begun with`,
    );
  return state;
}

/** A run that has begun, with the hidden states of its prompts. */
export type BegunRun = Omit<DenoiseRun, "denoiser" | "text" | "unguided"> & {
  readonly state: SamplerState;
  readonly text: PromptStates;
};

/** The steps of a run; gives the latents `[1, F, C, h, w]` after the last. */
export async function* sample(
  pipeline: Pipeline,
  options: Unprompted,
  { state: first, text, ...run }: BegunRun,
): AsyncGenerator<StepEvent, HostTensor> {
  const cache = await loadedCache(options.cache, pipeline.checkpoint.folder);
  const setUp = { ...options, cache };
  const own = promptedDenoiser(pipeline, setUp, run, text);
  const other =
    run.guidance.interval && promptedDenoiser(pipeline, setUp, { ...run, ...unguided(run) }, text);
  try {
    const all = { ...run, ...own, unguided: other };
    const { timesteps } = run.plan;
    let state = first;
    let before = performance.now();
    for await (state of denoise(all, first, hooksOf(options, "denoise"))) {
      const { step } = state;
      const seconds = secondsSince(before);
      const { length: steps, [step - 1]: timestep } = timesteps;
      const cache = cacheOfStep(step - 1, own.model, other?.model);
      yield { kind: "step", step, steps, timestep, seconds, state, ...(cache ? { cache } : {}) };
      before = performance.now();
    }
    return { dtype: "f32", shape: run.shape, data: state.latents };
  } finally {
    await own.denoiser.close();
    await other?.denoiser.close();
    await pipeline.engine.trim();
  }
}

/** The transformer for the rows of a run, with the hidden states of each; `model` is what sees one window at a time. */
function promptedDenoiser(
  { checkpoint, engine }: Pipeline,
  { loraScale, cache, cacheState: saved, longVideo }: Unprompted,
  run: Conditions & { readonly shape: readonly number[]; readonly plan: SamplingPlan },
  text: PromptStates,
): PromptedDenoiser & { readonly text: HostTensor; readonly model: Predictor } {
  const { config } = checkpoint.transformer;
  const [, total, , height, width] = run.shape;
  const size = seenAtOnce(config, { frames: total, height, width }, longVideo);
  const rows = stackSamples(rowsOf(run).map(({ prompt }) => text[prompt]));
  const [batch, textLength] = rows.shape;
  const variation = variationOf(run);
  const call = { ...size, batch, textLength, variation, loraScale, riflex: longVideo?.riflex };
  const { timesteps } = run.plan;
  const cached = { cache, saved, timesteps, isGuidedPair: isGuidedPair(run) };
  const model = denoiserFor(engine, checkpoint.transformer, call, cached);
  return { text: rows, denoiser: predictorOver(config, model, total, longVideo), model };
}

/** Whether the model is given one sample without the prompt and one with it, and nothing else. */
function isGuidedPair({ guidance, stg, reference }: Conditions): boolean {
  return isGuided(guidance) && !stg && !reference;
}

/** The texts that a clip is made with: what guidance leads away from, if that is a text, and the prompt. */
export function textsOf({ prompt, ...options }: GenerateOptions, config: TransformerConfig): string[] {
  const { negativePrompt = defaults.negativePrompt } = options;
  return needsNegative(options, config) ? [negativePrompt, prompt] : [prompt];
}

/** The states of those texts, in their order; or of more, of which the last two count. */
export function promptsOf({ unconditional }: Unprompted, states: readonly HostTensor[]): PromptStates {
  const [negative, positive] = [states.at(-2), states[states.length - 1]];
  const zeros = { ...positive, data: new Float32Array(positive.data.length) };
  return { positive, negative: unconditional === "zeros" ? zeros : (negative ?? positive) };
}

async function* encodePrompts(
  pipeline: Pipeline,
  options: GenerateOptions,
): AsyncGenerator<PipelineEvent, PromptStates> {
  if (options.promptStates) {
    const { negative, positive } = options.promptStates;
    const { truncated } = tokenizePrompts(pipeline, [options.prompt]);
    yield { kind: "encoded", truncated: truncated[0], seconds: 0 };
    return promptsOf(options, [negative, positive]);
  }
  const texts = textsOf(options, pipeline.checkpoint.transformer.config);
  return promptsOf(options, yield* encodeTexts(pipeline, options, texts));
}

/** Hidden states `[T, textDim]` of every text; the event tells what was cut off the last. */
export async function* encodeTexts(
  pipeline: Pipeline,
  options: Unprompted,
  texts: readonly string[],
): AsyncGenerator<PipelineEvent, HostTensor[]> {
  const { checkpoint, engine } = pipeline;
  const started = performance.now();
  const { ids, truncated } = tokenizePrompts(pipeline, texts);
  const states = await encodeTokens(engine, checkpoint, ids, hooksOf(options, "text"));
  await engine.trim();
  yield { kind: "encoded", truncated: truncated.at(-1) ?? null, seconds: secondsSince(started) };
  return samplesOf(states);
}

function tokenizePrompts({ checkpoint, tokenizer }: Pipeline, texts: readonly string[]) {
  return tokenize(tokenizer, texts, checkpoint.transformer.config.maxTextLength);
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
  options: Unprompted,
  pixels: HostTensor,
  rng?: TorchRng,
): Promise<HostTensor> {
  const { tiling } = options;
  return encodePixels(engine, checkpoint, pixels, { ...hooksOf(options, "encode"), tiling, rng });
}

/** Refuses a tiling that does not work out now, and not when the latents are there. @throws ConfigError */
export function requireTiling({ checkpoint }: Pipeline, { tiling }: GenerateOptions): void {
  if (tiling) tilingFor(checkpoint.vae.config, "decode", tiling);
}

/** Refuses a size that the model has no positions for now, and not when the text has been encoded. @throws ConfigError */
export function requirePlaces(
  { checkpoint: { transformer } }: Pipeline,
  { latents }: Pick<Mode, "latents">,
  { longVideo }: Pick<GenerateOptions, "longVideo"> = {},
): void {
  const { learnedPositions, patchT, maxTextLength } = transformer.config;
  if (learnedPositions || patchT !== null) {
    const seen = seenAtOnce(transformer.config, latents, longVideo);
    positionsFor(transformer.config, seen, maxTextLength, longVideo?.riflex);
  }
}

/** @throws ConfigError for hidden states of another length or width than the model is given */
function requireStates({ checkpoint }: Pipeline, { promptStates }: GenerateOptions): void {
  if (promptStates === undefined) return;
  const { maxTextLength, textDim } = checkpoint.transformer.config;
  for (const { shape } of [promptStates.positive, promptStates.negative])
    if (!sameShape(shape, [maxTextLength, textDim]))
      throw new ConfigError(
        `the hidden states of a prompt must be ${showShape([maxTextLength, textDim])} for this checkpoint, ` +
          `got ${showShape(shape)}`,
      );
}

function hooksOf({ signal, onSegment }: Unprompted, stage: Stage): RunHooks {
  return { signal, onSegment: (name, done, total) => onSegment?.({ stage, name, done, total }) };
}

function secondsSince(start: number): number {
  return (performance.now() - start) / 1000;
}
