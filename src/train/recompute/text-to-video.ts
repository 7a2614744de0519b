/** @file The model's loss as a chain: embedding, every block, head and error. */
// B batch, F latent frames, C channels, H and W latent height and width, N video tokens, T text tokens, D width
import { type InputSpec, type Segment, traceSegment } from "../../graph/segment.ts";
import type { Tensor } from "../../graph/tensor.ts";
import type { T5Config } from "../../models/t5/config.ts";
import { block } from "../../models/transformer/block.ts";
import type { TransformerConfig } from "../../models/transformer/config.ts";
import { gridOf, tokensOf } from "../../models/transformer/grid.ts";
import { type EmbedInputs, embed, head } from "../../models/transformer/transformer.ts";
import { Scope } from "../../nn/scope.ts";
import { type Mixture, noisyLatents, velocityError, weightedMean, withCondition } from "../diffusion/loss.ts";
import { paddedSize, padFront } from "../diffusion/temporal-padding.ts";
import { encodeText } from "../diffusion/text-dropout.ts";
import type { LossGraph } from "../learner.ts";
import {
  conditionSpecs,
  mixtureShapes,
  PARTS,
  type TextToVideoCall,
  type TextToVideoGraph,
} from "../tasks/text-to-video.ts";
import { type SegmentedGraph, segmentedGraph } from "./segmented-graph.ts";

/**
 * The loss of `textToVideoGraph` with the same keys, feeds and reports, cut at the borders of blocks. All blocks are one
 * segment.
 * @param whole the uncut graph, which says sizes and positions
 */
export function segmentedTextToVideo(
  { call, config, positions, graph }: TextToVideoGraph,
  textEncoder: T5Config | null,
  frozen: LossGraph["frozen"] = graph.frozen,
): SegmentedGraph {
  const parts = {
    embed: embedSegment(config, call, textEncoder, positions.added.kind),
    block: blockSegment(config, call),
    error: errorSegment(config, call),
  };
  return chainOf(graph.name, config, parts, frozen);
}

/** Embedding, every block, error. */
export function chainOf(
  name: string,
  { layers }: TransformerConfig,
  { embed, block, error }: Readonly<Record<"embed" | "block" | "error", Segment>>,
  frozen: LossGraph["frozen"],
): SegmentedGraph {
  const blocks = Array.from({ length: layers }, (_, i) => ({
    segment: block,
    prefix: `${PARTS.transformer}.transformer_blocks.${i}.`,
  }));
  return segmentedGraph(
    name,
    [{ segment: embed, prefix: "" }, ...blocks, { segment: error, prefix: "" }],
    frozen,
  );
}

function embedSegment(
  config: TransformerConfig,
  call: TextToVideoCall,
  textEncoder: T5Config | null,
  added: "rows" | "learned" | "none",
): Segment {
  const { batch, textLength } = call;
  const specs: Record<string, InputSpec> = {
    ...mixtureSpecs(config, call),
    timestep: [batch, config.width],
    ...conditionSpecs(config, mixtureShapes(config, call).noise),
    ...(textEncoder
      ? { ids: { shape: [batch, textLength], dtype: "i32" } }
      : { text: [batch, textLength, config.textDim] }),
    ...(added === "rows" ? { positions: [1, textLength + tokens(config, call), config.width] } : {}),
  };
  return traceSegment("embed", specs, (inputs) => {
    const p = new Scope();
    const text = textEncoder ? encodeText(p.at(PARTS.textEncoder), inputs.ids, textEncoder) : inputs.text;
    const latents = withCondition(noisyLatents(mixtureOf(inputs, config)), inputs.condition);
    const outputs = embed(
      p.at(PARTS.transformer),
      { ...(inputs as EmbedInputs), latents, text },
      config,
      added,
    );
    return { outputs: { ...outputs }, params: p.declared };
  });
}

function blockSegment(config: TransformerConfig, call: TextToVideoCall): Segment {
  const { batch, textLength } = call;
  const rows = [1, textLength + tokens(config, call), config.headDim / 2];
  const specs: Record<string, InputSpec> = {
    video: [batch, tokens(config, call), config.width],
    text: [batch, textLength, config.width],
    emb: [batch, config.timeDim],
    ...(config.rotary ? { cos: rows, sin: rows } : {}),
  };
  return traceSegment("block", specs, ({ video, text, emb, cos, sin }) => {
    const p = new Scope();
    const outputs = block(p, { video, text }, emb, config.rotary ? { cos, sin } : null, config);
    return { outputs: { ...outputs }, params: p.declared };
  });
}

function errorSegment(config: TransformerConfig, call: TextToVideoCall): Segment {
  const specs = {
    ...mixtureSpecs(config, call),
    weights: [call.batch],
    video: [call.batch, tokens(config, call), config.width],
    emb: [call.batch, config.timeDim],
  };
  return traceSegment("head", specs, ({ video, emb, weights, ...inputs }) => {
    const p = new Scope();
    const predicted = head(p.at(PARTS.transformer), video, emb, config, paddedSize(call, config.patchT));
    const perSample = velocityError(predicted, mixtureOf(inputs, config));
    return { outputs: { loss: weightedMean(perSample, weights), perSample }, params: p.declared };
  });
}

function mixtureSpecs(config: TransformerConfig, call: TextToVideoCall): Record<keyof Mixture, InputSpec> {
  return { ...mixtureShapes(config, call), signal: [call.batch], sigma: [call.batch] };
}

function mixtureOf(
  { latents, noise, signal, sigma }: Readonly<Record<string, Tensor>>,
  { patchT }: TransformerConfig,
): Mixture {
  return { latents: padFront(latents, patchT), noise, signal, sigma };
}

function tokens(config: TransformerConfig, call: TextToVideoCall): number {
  return tokensOf(gridOf(config, paddedSize(call, config.patchT)));
}
