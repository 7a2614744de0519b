/** @file The models of a checkpoint, traced on their configurations at the checkpoint's default size. */
import { join } from "node:path";
import type { Segment } from "../graph/segment.ts";
import { parseT5Config, type T5Config } from "../models/t5/config.ts";
import { t5Segments } from "../models/t5/encoder.ts";
import { parseTransformerConfig, type TransformerConfig } from "../models/transformer/config.ts";
import { addedKind } from "../models/transformer/positions/positions.ts";
import { quantizeTransformer } from "../models/transformer/quantized.ts";
import { type TransformerSegments, transformerSegments } from "../models/transformer/transformer.ts";
import { parseVaeConfig, spatialRatio, type VaeConfig } from "../models/vae/config.ts";
import { decoderSegments } from "../models/vae/decoder.ts";
import { encoderSegments } from "../models/vae/encoder.ts";
import { type ClipSize, clipSize, latentFrames, latentSize } from "../pipeline/clip-size.ts";
import { type PlannedModel, plannedFormats, plannedPrecision } from "../pipeline/plan/models.ts";
import { evaluationPlan, type StagePlan, textPlan } from "../pipeline/plan/stage-plan.ts";
import { vaePlan } from "../pipeline/plan/vae-plan.ts";
import type { Precision } from "../pipeline/precision.ts";
import { type KeyOptions, t5Aliases } from "../weights/check.ts";
import type { WeightSet } from "../weights/checkpoint.ts";
import { readJson } from "../weights/json-file.ts";

/** A model of a checkpoint folder: where it lies and how it is traced. */
export type ComponentKind = {
  readonly name: "transformer" | "vae" | "text_encoder";
  readonly keyOptions: KeyOptions;
  /**
   * Traces the model for weights that are there, or for the released ones, in bfloat16.
   * @throws ConfigError for a bad configuration, ShapeError for one whose numbers do not fit together
   */
  trace(json: unknown, source: string, weights?: WeightSet | null): TracedComponent;
};

/** A model as its configuration says. */
export type TracedComponent = {
  readonly summary: string;
  readonly config: unknown;
  /** Declares every parameter as it is in float. */
  readonly segments: readonly Segment[];
  /** Declares every parameter as it is stored: quantised, where it is. */
  readonly stored: readonly Segment[];
  /** What the weights are quantised to. */
  readonly precision: Precision;
  /** The stage of a run that the model is, at the checkpoint's default size. */
  readonly plan: StagePlan;
};

/** Prompts of one run: what is wanted and what is not. */
const BATCH = 2;

/** Every model of the checkpoint in `folder`, for clips of its default size. */
export async function componentKinds(folder: string): Promise<ComponentKind[]> {
  const transformer = await transformerConfig(folder);
  return [
    {
      name: "text_encoder",
      keyOptions: { aliases: t5Aliases },
      trace: (json, source, weights = null) =>
        traceTextEncoder({ config: parseT5Config(json, source), weights }, transformer.maxTextLength),
    },
    {
      name: "transformer",
      keyOptions: {},
      trace: (json, source, weights = null) =>
        traceTransformer({ config: parseTransformerConfig(json, source), weights }),
    },
    {
      name: "vae",
      keyOptions: {},
      trace: (json, source, weights = null) =>
        traceVae({ config: parseVaeConfig(json, source), weights }, transformer),
    },
  ];
}

/** The other models' sizes follow from the transformer; where it cannot be read, from the released one. */
async function transformerConfig(folder: string): Promise<TransformerConfig> {
  const source = join(folder, "transformer", "config.json");
  try {
    return parseTransformerConfig(await readJson(source), source);
  } catch {
    return parseTransformerConfig({}, source);
  }
}

function traceTextEncoder(model: PlannedModel<T5Config>, length: number): TracedComponent {
  const { config } = model;
  const { layers, heads, headDim, width, hidden } = config;
  const { embed, layers: blocks, norm } = t5Segments(config, BATCH, length);
  return {
    summary: `T5, ${layers} layers, ${heads} heads x ${headDim}, width ${width}, hidden ${hidden}`,
    config,
    ...inFloat([embed, ...blocks, norm]),
    plan: textPlan(model, BATCH, length),
  };
}

function traceTransformer(model: PlannedModel<TransformerConfig>): TracedComponent {
  const { config } = model;
  const size = clipSize(config);
  const textLength = config.maxTextLength;
  const latents = latentSize(config, size);
  const added = addedKind(config, latents);
  const segments = transformerSegments(config, { batch: BATCH, ...latents, textLength, added });
  const precision = plannedPrecision(model, undefined);
  const quantized = quantizeTransformer(segments, plannedFormats(model, precision));
  return {
    summary: describeTransformer(config, size),
    config,
    segments: inOrder(segments),
    stored: inOrder(quantized),
    precision,
    plan: evaluationPlan(model, { latents, rows: BATCH, precision }),
  };
}

function inOrder({ embed, blocks, head }: TransformerSegments): Segment[] {
  return [embed, ...blocks, head];
}

/** The encoder and the decoder are traced small, for their parameters alone. */
function traceVae(model: PlannedModel<VaeConfig>, transformer: TransformerConfig): TracedComponent {
  const { config } = model;
  const { height, width, ...size } = clipSize(transformer);
  const frames = latentFrames(transformer, size.frames);
  const ratio = spatialRatio(config);
  const call = { frames: 1, continues: false, keeps: false, block: 1 };
  const encoder = encoderSegments(config, { ...call, height: ratio, width: ratio });
  const decoder = decoderSegments(config, { ...call, height: 1, width: 1 });
  const decoded = { frames, height: height / ratio, width: width / ratio, tiling: false };
  const { channels, latentChannels, layers, groups, scalingFactor } = config;
  return {
    summary:
      `${channels.join(", ")} channels, ${latentChannels} latent, ${layers} blocks a level, ` +
      `norms of ${groups} groups, scale ${scalingFactor}`,
    config,
    ...inFloat([...encoder, ...decoder]),
    plan: vaePlan(model, { direction: "decode", ...decoded }),
  };
}

function inFloat(segments: readonly Segment[]) {
  return { segments, stored: segments, precision: "fp32" as const };
}

function describeTransformer(config: TransformerConfig, { width, height, frames }: ClipSize): string {
  const { layers, heads, headDim, inChannels, outChannels, patch, patchT } = config;
  const patches = [...(patchT === null ? [] : [patchT]), patch, patch].join("x");
  return (
    `${layers} layers, ${heads} heads x ${headDim} = ${config.width}, ${inChannels} to ${outChannels} channels, ` +
    `patches of ${patches}, ${positionsName(config)}, ${width}x${height}, ${frames} frames`
  );
}

function positionsName({ rotary, learnedPositions }: TransformerConfig): string {
  if (learnedPositions) return "rotary and learned positions";
  return rotary ? "rotary positions" : "added sine positions";
}
