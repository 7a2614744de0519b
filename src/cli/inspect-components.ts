/** @file The models of a checkpoint, traced on their configurations at the checkpoint's default size. */
import { join } from "node:path";
import type { Segment } from "../graph/segment.ts";
import { parseT5Config, type T5Config } from "../models/t5/config.ts";
import { t5Segments } from "../models/t5/encoder.ts";
import { parseTransformerConfig, type TransformerConfig } from "../models/transformer/config.ts";
import { positionsFor } from "../models/transformer/positions/positions.ts";
import { transformerSegments } from "../models/transformer/transformer.ts";
import { chunkLengths, DECODE_CHUNK } from "../models/vae/chunks.ts";
import { parseVaeConfig, type VaeConfig } from "../models/vae/config.ts";
import { decoderSegments } from "../models/vae/decoder.ts";
import { encoderSegments } from "../models/vae/encoder.ts";
import { readJson } from "../pipeline/checkpoint.ts";
import { type ClipSize, clipSize, latentFrames, latentSize } from "../pipeline/clip-size.ts";
import { type KeyOptions, t5Aliases } from "../weights/check.ts";

/** A model of a checkpoint folder: where it lies and how it is traced. */
export type ComponentKind = {
  readonly name: "transformer" | "vae" | "text_encoder";
  readonly keyOptions: KeyOptions;
  /** @throws ConfigError for a bad configuration, ShapeError for one whose numbers do not fit together */
  trace(json: unknown, source: string): TracedComponent;
};

export type TracedComponent = {
  readonly summary: string;
  readonly config: unknown;
  /** Declares every parameter. */
  readonly segments: readonly Segment[];
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
      trace: (json, source) => traceTextEncoder(parseT5Config(json, source), transformer.maxTextLength),
    },
    {
      name: "transformer",
      keyOptions: {},
      trace: (json, source) => traceTransformer(parseTransformerConfig(json, source)),
    },
    {
      name: "vae",
      keyOptions: {},
      trace: (json, source) => traceVae(parseVaeConfig(json, source), transformer),
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

function traceTextEncoder(config: T5Config, length: number): TracedComponent {
  const { layers, heads, headDim, width, hidden } = config;
  const segments = t5Segments(config, BATCH, length);
  return {
    summary: `T5, ${layers} layers, ${heads} heads x ${headDim}, width ${width}, hidden ${hidden}`,
    config,
    segments: [segments.embed, ...segments.layers, segments.norm],
  };
}

function traceTransformer(config: TransformerConfig): TracedComponent {
  const size = clipSize(config);
  const textLength = config.maxTextLength;
  const latents = latentSize(config, size);
  const added = positionsFor(config, latents, textLength).added.kind;
  const segments = transformerSegments(config, { batch: BATCH, ...latents, textLength, added });
  return {
    summary: describeTransformer(config, size),
    config,
    segments: [segments.embed, ...segments.blocks, segments.head],
  };
}

/** The decoder's first chunk of a clip is its largest; the encoder is traced small, for its parameters alone. */
function traceVae(config: VaeConfig, transformer: TransformerConfig): TracedComponent {
  const { frames, width, height } = clipSize(transformer);
  const [firstChunk] = chunkLengths(latentFrames(transformer, frames), DECODE_CHUNK);
  const ratio = 2 ** (config.channels.length - 1);
  const call = { continues: false, keeps: true, block: 1 };
  const encoder = encoderSegments(config, { ...call, frames: 1, height: ratio, width: ratio });
  const size = { frames: firstChunk, height: height / ratio, width: width / ratio };
  const decoder = decoderSegments(config, { ...call, ...size });
  const { channels, latentChannels, layers, groups, scalingFactor } = config;
  return {
    summary:
      `${channels.join(", ")} channels, ${latentChannels} latent, ${layers} blocks a level, ` +
      `norms of ${groups} groups, scale ${scalingFactor}`,
    config,
    segments: [...encoder, ...decoder],
  };
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
