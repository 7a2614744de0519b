/** @file The plan of a run: what each of its stages takes in memory and time, before anything is computed. */
import { isGuided, isGuidedAt } from "../../diffusion/guidance.ts";
import { checkedStg } from "../../diffusion/stg.ts";
import { ConfigError } from "../../errors.ts";
import type { TransformerConfig } from "../../models/transformer/config.ts";
import { gridOf, type LatentSize, tokensOf } from "../../models/transformer/grid.ts";
import type { TilingOptions } from "../../models/vae/tiling.ts";
import type { Rates } from "../../runtime/rates.ts";
import { noWork, sumOfWork, timesWork, type Work } from "../../runtime/segment-work.ts";
import { policyOf } from "../caches/caches.ts";
import { type ClipSize, latentFrames, latentSize, SPATIAL_RATIO } from "../clip-size.ts";
import { rowsOf, unguided } from "../denoise.ts";
import { defaults, type GenerateOptions } from "../generate-options.ts";
import { guidanceOf } from "../guidance-options.ts";
import { seenAtOnce } from "../long-video/long-video.ts";
import { windowsOf, windowsOver } from "../long-video/windows.ts";
import type { Precision } from "../precision.ts";
import { type PlannedModels, plannedPrecision } from "./models.ts";
import { evaluationPlan, type StagePlan, textPlan } from "./stage-plan.ts";
import { cutsOf, type VaeCuts, vaePlan } from "./vae-plan.ts";

/** What a clip is made from; `latents` are decoded and nothing else. */
export type PlannedSource = "prompt" | "image" | "video" | "control" | "inpaint" | "invert" | "latents";

/** What a run is to make, as far as memory and time depend on it. */
export type PlanRequest = {
  readonly source: PlannedSource;
  readonly size: ClipSize;
  /** Clips that follow each other. */
  readonly clips: number;
  /** Different texts that are read for them; none where their hidden states are given. */
  readonly texts: number;
  /** Share of the steps that are done. */
  readonly strength?: number;
  readonly tiling: boolean | TilingOptions;
  readonly precision?: Precision;
  readonly options: Omit<GenerateOptions, "prompt" | "seed">;
};

/** What each stage of a run takes. */
export type RunPlan = {
  readonly request: PlanRequest;
  readonly precision: Precision;
  /** In the order of the run. Work of all clips, memory of any. */
  readonly stages: readonly StagePlan[];
  /** How frames are cut for the decoder. */
  readonly cuts: VaeCuts;
};

/**
 * Plans a run. Nothing runs, and of weights only the headers are looked at.
 * @throws ConfigError for options that no run of this checkpoint has
 */
export function planRun(models: PlannedModels, request: PlanRequest): RunPlan {
  const { source, size, clips, texts, tiling } = request;
  const { transformer, vae, textEncoder } = models;
  const precision = plannedPrecision(transformer, request.precision);
  const { height, width } = latentSize(transformer.config, size);
  const decoded = {
    direction: "decode" as const,
    frames: latentFrames(transformer.config, size.frames),
    ...{ height, width, tiling },
  };
  const decode = vaePlan(vae, decoded);
  const frames = encodedFrames(source, size);
  const encoded = { direction: "encode" as const, ...size, frames, tiling };
  const stages = [
    ...(frames > 0 ? [vaePlan(vae, encoded)] : []),
    ...(source === "latents"
      ? []
      : [
          ...(texts > 0 ? [textPlan(textEncoder, texts, transformer.config.maxTextLength)] : []),
          denoisePlan(models, request, precision),
        ]),
    decode,
  ];
  return {
    request,
    precision,
    stages: stages.map((stage) =>
      stage.stage === "text" ? stage : { ...stage, work: timesWork(stage.work, clips) },
    ),
    cuts: cutsOf(vae.config, decoded),
  };
}

/** The most that any stage of a plan takes, beyond the process at rest. */
export function heaviestStage({ stages }: RunPlan): StagePlan {
  return stages.reduce((most, stage) => (stage.memory > most.memory ? stage : most));
}

/** Seconds for some work at measured rates. */
export function secondsFor(work: Work, rates: Rates): number {
  const kinds = Object.keys(work) as (keyof Work)[];
  return kinds.reduce((sum, kind) => sum + work[kind] / rates[kind], 0);
}

function encodedFrames(source: PlannedSource, { frames }: ClipSize): number {
  if (source === "prompt" || source === "latents") return 0;
  return source === "image" ? 1 : frames;
}

/** A kind of evaluation of the transformer, and how many there are. */
type Pass = { readonly rows: number; readonly evaluations: number };

function denoisePlan(models: PlannedModels, request: PlanRequest, precision: Precision): StagePlan {
  const { config } = models.transformer;
  const all = latentSize(config, request.size);
  const { longVideo } = request.options;
  const latents = seenAtOnce(config, all, longVideo);
  const window = longVideo?.window;
  const windows = window === undefined ? 1 : windowsOver(all.frames, windowsOf(config, window)).length;
  let memory = 0;
  let mapped = 0;
  let work: Work = noWork;
  for (const { rows, evaluations } of passesOf(config, request)) {
    const plan = evaluationPlan(models.transformer, { latents, rows, precision });
    memory = Math.max(memory, plan.memory + keptBytes(config, request, { rows, latents }));
    mapped = Math.max(mapped, plan.mapped);
    work = sumOfWork([work, timesWork(plan.work, evaluations * windows)]);
  }
  return { stage: "denoise", memory, mapped, work };
}

/** The evaluations of a run, by the samples in their batch. */
function passesOf(config: TransformerConfig, { source, options, strength = 1 }: PlanRequest): Pass[] {
  const { steps: asked = defaults.steps } = options;
  const steps = Math.max(1, Math.floor(asked * strength));
  const guidance = guidanceOf(options, config);
  const stg = checkedStg(options.stg, { layers: config.layers, guided: isGuided(guidance) });
  const reference = source === "invert" ? [] : undefined;
  const conditions = { guidance, stg, reference };
  const guided = Array.from({ length: steps }, (_, step) => step).filter(
    (step) => !isGuided(guidance) || isGuidedAt(guidance, { step, numSteps: steps }),
  ).length;
  return [
    { rows: rowsOf(conditions).length, evaluations: guided },
    { rows: rowsOf(unguided(conditions)).length, evaluations: steps - guided },
    ...(source === "invert" ? [{ rows: 1, evaluations: steps }] : []),
  ].filter(({ evaluations }) => evaluations > 0);
}

/** What a feature cache keeps from step to step near the engine. */
function keptBytes(
  config: TransformerConfig,
  { options: { cache } }: PlanRequest,
  { rows, latents }: { readonly rows: number; readonly latents: LatentSize },
): number {
  if (cache === undefined) return 0;
  const bytes = (tokens: number) => 4 * rows * tokens * config.width;
  const [video, text] = [tokensOf(gridOf(config, latents)), config.maxTextLength];
  const timesteps = [999];
  try {
    const { kept } = policyOf(cache, {
      config,
      timesteps,
      isGuidedPair: rows === 2,
      conditioningChanges: [0],
    });
    if (kept.part === "prediction") return 0;
    if (kept.part === "attention") {
      const all = kept.count * config.layers * bytes(video + text);
      return kept.conditional && rows === 2 ? all / 2 : all;
    }
    const span = kept.back > 0 ? video + text : video;
    return kept.count * bytes(span) + (kept.measured ? bytes(video) : 0);
  } catch (error) {
    // What a cache cannot serve is told by the run itself, with more to go by.
    if (error instanceof ConfigError) return 0;
    throw error;
  }
}

/** Pixels of latents `[1, F, C, h, w]` that are only decoded, as a size. */
export function sizeOfLatents(config: TransformerConfig, shape: readonly number[]): ClipSize {
  const [, frames, , height, width] = shape;
  return {
    width: width * SPATIAL_RATIO,
    height: height * SPATIAL_RATIO,
    frames: (frames - 1) * config.temporalRatio + 1,
  };
}
