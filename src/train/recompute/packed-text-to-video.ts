/** @file The loss of a packed row as a chain: embedding of all samples, every block, head and error. */
// n samples, N video tokens of all, T text tokens each, D width
import { type InputSpec, type Segment, traceSegment } from "../../graph/segment.ts";
import type { Tensor } from "../../graph/tensor.ts";
import type { T5Config } from "../../models/t5/config.ts";
import { block } from "../../models/transformer/block.ts";
import type { LatentSize } from "../../models/transformer/grid.ts";
import { Scope } from "../../nn/scope.ts";
import { packedError, packedMixtures } from "../diffusion/frame-pack/loss.ts";
import { embedPacked, headPacked, packedArrangement } from "../diffusion/frame-pack/transformer.ts";
import { noisyLatents } from "../diffusion/loss.ts";
import { encodeText } from "../diffusion/text-dropout.ts";
import { type PackedGraph, packedConditionSpecs } from "../tasks/packed-text-to-video.ts";
import { PARTS } from "../tasks/text-to-video.ts";
import type { SegmentedGraph } from "./segmented-graph.ts";
import { chainOf } from "./text-to-video.ts";

type Inputs = Readonly<Record<string, Tensor>>;

/** The loss of `packedTextToVideo` with the same keys, feeds and reports, cut at the borders of blocks. */
export function segmentedPackedTextToVideo(row: PackedGraph, textEncoder: T5Config | null): SegmentedGraph {
  const { config, graph } = row;
  const parts = {
    embed: embedSegment(row, textEncoder),
    block: blockSegment(row),
    error: errorSegment(row),
  };
  return chainOf(graph.name, config, parts, graph.frozen);
}

function embedSegment(row: PackedGraph, textEncoder: T5Config | null): Segment {
  const { config, sizes, layout, positions } = row;
  const { textLength } = layout;
  const added = Object.entries(positions).filter(([name]) => name.startsWith("positions/"));
  const specs: Record<string, InputSpec> = {
    ...mixtureSpecs(row),
    ...packedConditionSpecs(config, paddedSizes(row)),
    timestep: [sizes.length, config.width],
    ...(textEncoder
      ? { ids: { shape: [sizes.length, textLength], dtype: "i32" } }
      : { text: [sizes.length, textLength, config.textDim] }),
    ...Object.fromEntries(added.map(([name, { shape }]) => [name, shape])),
  };
  return traceSegment("embed", specs, (inputs: Inputs) => {
    const p = new Scope();
    const text = textEncoder ? encodeText(p.at(PARTS.textEncoder), inputs.ids, textEncoder) : inputs.text;
    const noisy = packedMixtures(mixtureOf(inputs, row), config).map(noisyLatents);
    const { timestep, ofs } = inputs;
    const [positions, condition] = [listOf(inputs, "positions", row), listOf(inputs, "condition", row)];
    const conditions = { timestep, text, ofs, positions, condition };
    const outputs = embedPacked(p.at(PARTS.transformer), noisy, conditions, config);
    return { outputs: { ...outputs }, params: p.declared };
  });
}

function blockSegment({ config, layout, sizes }: PackedGraph): Segment {
  const { textTokens, videoTokens } = layout;
  const rows = [1, textTokens + videoTokens, config.headDim / 2];
  const specs: Record<string, InputSpec> = {
    video: [1, videoTokens, config.width],
    text: [1, textTokens, config.width],
    emb: [sizes.length, config.timeDim],
    ...(config.rotary ? { cos: rows, sin: rows } : {}),
  };
  return traceSegment("block", specs, ({ video, text, emb, cos, sin }: Inputs) => {
    const p = new Scope();
    const rotation = config.rotary ? { cos, sin } : null;
    const outputs = block(p, { video, text }, emb, rotation, config, packedArrangement(layout));
    return { outputs: { ...outputs }, params: p.declared };
  });
}

function errorSegment(row: PackedGraph): Segment {
  const { config, layout, sizes } = row;
  const specs = {
    ...mixtureSpecs(row),
    weights: [sizes.length],
    video: [1, layout.videoTokens, config.width],
    emb: [sizes.length, config.timeDim],
  };
  return traceSegment("head", specs, ({ video, emb, weights, ...inputs }: Inputs) => {
    const p = new Scope();
    const predicted = headPacked(p.at(PARTS.transformer), video, emb, config, layout);
    const mixtures = packedMixtures(mixtureOf(inputs, row), config);
    return { outputs: { ...packedError(predicted, mixtures, weights) }, params: p.declared };
  });
}

function mixtureSpecs(row: PackedGraph): Record<string, InputSpec> {
  const { config, sizes } = row;
  const each = (name: string, list: readonly { frames: number; height: number; width: number }[]) =>
    list.map(({ frames, height, width }, i): [string, InputSpec] => [
      `${name}/${i}`,
      [1, frames, config.outChannels, height, width],
    ]);
  return {
    ...Object.fromEntries([...each("latents", sizes), ...each("noise", paddedSizes(row))]),
    signal: [sizes.length],
    sigma: [sizes.length],
  };
}

function mixtureOf(inputs: Inputs, row: PackedGraph) {
  const { signal, sigma } = inputs;
  return { latents: listOf(inputs, "latents", row), noise: listOf(inputs, "noise", row), signal, sigma };
}

function paddedSizes({ layout }: PackedGraph): LatentSize[] {
  return layout.segments.map(({ size }) => size);
}

/** Of every sample; undefined for those that take no such input. */
function listOf(inputs: Inputs, name: string, { sizes }: PackedGraph): Tensor[] {
  return sizes.map((_, i) => inputs[`${name}/${i}`]);
}
