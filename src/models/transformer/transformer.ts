/** @file The whole transformer, cut into segments: embed, every block, head. */
// B batch, F latent frames, H and W latent height and width, N video tokens, T text tokens, D width
import { layerNorm as normalize, silu } from "../../graph/functions.ts";
import { type Segment, traceSegment } from "../../graph/segment.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { layerNorm, linear } from "../../nn/layers.ts";
import { layer, Scope } from "../../nn/scope.ts";
import { type Arrangement, join, oneSamplePerRow, type Rotation, type Streams } from "./block.ts";
import type { TransformerConfig } from "./config.ts";
import { gridOf, type LatentSize, tokensOf } from "./grid.ts";
import { patchEmbed, unpatchify } from "./patch.ts";
import type { Positions } from "./positions/positions.ts";
import { type Variation, variedBlock } from "./variation.ts";

/** Size of one call. */
export type TransformerCall = LatentSize & {
  readonly batch: number;
  readonly textLength: number;
  readonly added: Positions["added"]["kind"];
  readonly variation?: Variation;
};

/** The segments of one call, in the order they run. */
export type TransformerSegments = {
  readonly embed: Segment;
  readonly blocks: readonly Segment[];
  readonly head: Segment;
};

/** What the embed segment takes. */
export type EmbedInputs = {
  /** `[B, F, C, H, W]` */
  readonly latents: Tensor;
  /** Text encoder states `[B, T, textDim]` */
  readonly text: Tensor;
  /** Features of the timestep, `[B, D]` */
  readonly timestep: Tensor;
  /** Features of `ofs`, `[B, ofsDim]`, where the model has it */
  readonly ofs?: Tensor;
  /** Rows added to the joint sequence, `[1, T + N, D]`, where positions are fixed and added */
  readonly positions?: Tensor;
};

/** Patches and text become tokens; the timestep becomes the conditioning vector `emb [B, timeDim]`. */
export const embed = layer(
  (
    p,
    x: EmbedInputs,
    config: TransformerConfig,
    added: Positions["added"]["kind"],
  ): Streams & { emb: Tensor } => {
    const patches = p.at("patch_embed");
    const video = patchEmbed(patches, x.latents, config); // [B, N, D]
    const text = linear(patches.at("text_proj"), x.text, config.width); // [B, T, D]
    const emb = conditioning(p, x, config);
    if (added === "none") return { video, text, emb };
    const tokens = text.dim(1) + video.dim(1);
    const table =
      added === "learned" ? patches.param("pos_embedding", [1, tokens, config.width]) : x.positions!;
    const placed = join({ video, text }).add(table);
    return { text: placed.slice(1, 0, text.dim(1)), video: placed.slice(1, text.dim(1)), emb };
  },
);

/** The conditioning vector `[B, timeDim]` of timesteps and, where the model has it, `ofs`. */
const conditioning = layer(
  (p, { timestep, ofs }: Pick<EmbedInputs, "timestep" | "ofs">, { timeDim, ofsDim }: TransformerConfig) => {
    const time = perceptron(p.at("time_embedding"), timestep, timeDim);
    return ofs && ofsDim ? time.add(perceptron(p.at("ofs_embedding"), ofs, ofsDim)) : time;
  },
);

const perceptron = layer((p, features: Tensor, dim: number) =>
  linear(p.at("linear_2"), silu(linear(p.at("linear_1"), features, dim)), dim),
);

/** Video tokens `[B, N, D]` to the prediction `[B, F, outChannels, H, W]`. */
export const head = layer((p, video: Tensor, emb: Tensor, config: TransformerConfig, size: LatentSize) =>
  unpatchify(headPatches(p, video, emb, config), config, size),
);

/** Video tokens `[B, N, D]` to patches of the prediction, `[B, N, outChannels · pt · p · p]`. */
export const headPatches = layer(
  (p, video: Tensor, emb: Tensor, config: TransformerConfig, { toVideo }: Arrangement = oneSamplePerRow) => {
    const { width, normEps, outChannels, patch, patchT } = config;
    const modulation = linear(p.at("norm_out", "linear"), silu(emb), 2 * width).reshape([-1, 1, 2 * width]);
    const [shift, factor] = [modulation.slice(2, 0, width), modulation.slice(2, width).add(1)];
    const norm = p.at("norm_out", "norm");
    const weight = toVideo(norm.param("weight", [width]).mul(factor));
    const bias = toVideo(norm.param("bias", [width]).mul(factor).add(shift));
    const tokens = normalize(layerNorm(p.at("norm_final"), video, normEps), weight, bias, normEps);
    return linear(p.at("proj_out"), tokens, outChannels * patch * patch * (patchT ?? 1));
  },
);

/** Traces every segment of one call; nothing runs and nothing is read. */
export function transformerSegments(config: TransformerConfig, call: TransformerCall): TransformerSegments {
  const blocks = Array.from({ length: config.layers }, (_, i) => blockSegment(config, call, i));
  return { embed: embedSegment(config, call), blocks, head: headSegment(config, call) };
}

/** The conditioning vectors `emb [rows, timeDim]` alone: they depend on nothing but timesteps, so all can be had at once. */
export function conditioningSegment(config: TransformerConfig, rows: number): Segment {
  const specs: Record<string, readonly number[]> = {
    timestep: [rows, config.width],
    ...(config.ofsDim ? { ofs: [rows, config.ofsDim] } : {}),
  };
  return traceSegment("conditioning", specs, ({ timestep, ofs }) => {
    const p = new Scope();
    return { outputs: { emb: conditioning(p, { timestep, ofs }, config) }, params: p.declared };
  });
}

function embedSegment(config: TransformerConfig, call: TransformerCall): Segment {
  const { batch, frames, height, width, textLength, added } = call;
  const tokens = textLength + tokensOf(gridOf({ ...config, patchT: null }, call));
  const specs: Record<string, readonly number[]> = {
    latents: [batch, frames, config.inChannels, height, width],
    text: [batch, textLength, config.textDim],
    timestep: [batch, config.width],
    ...(config.ofsDim ? { ofs: [batch, config.ofsDim] } : {}),
    ...(added === "rows" ? { positions: [1, tokens, config.width] } : {}),
  };
  return traceSegment("embed", specs, (inputs) => {
    const p = new Scope();
    const outputs = embed(p, inputs as EmbedInputs, config, added);
    return { outputs, params: p.declared };
  });
}

function blockSegment(config: TransformerConfig, call: TransformerCall, index: number): Segment {
  const scope = new Scope().at("transformer_blocks", index);
  return traceSegment(scope.path, blockSpecs(config, call), ({ video, text, emb, cos, sin }) => {
    const rotation: Rotation | null = config.rotary ? { cos, sin } : null;
    const place = { index, variation: call.variation };
    const outputs = variedBlock(scope, { video, text }, emb, rotation, config, place);
    return { outputs: { ...outputs }, params: scope.declared };
  });
}

/** What a block takes: the streams, the conditioning vector, and rotary rows where the model rotates. */
export function blockSpecs(config: TransformerConfig, { batch, textLength, ...size }: TransformerCall) {
  const tokens = tokensOf(gridOf(config, size));
  const rows = [1, textLength + tokens, config.headDim / 2];
  const specs: Record<string, readonly number[]> = {
    video: [batch, tokens, config.width],
    text: [batch, textLength, config.width],
    emb: [batch, config.timeDim],
    ...(config.rotary ? { cos: rows, sin: rows } : {}),
  };
  return specs;
}

function headSegment(config: TransformerConfig, call: TransformerCall): Segment {
  const tokens = tokensOf(gridOf(config, call));
  const specs = { video: [call.batch, tokens, config.width], emb: [call.batch, config.timeDim] };
  return traceSegment("head", specs, ({ video, emb }) => {
    const p = new Scope();
    return { outputs: { sample: head(p, video, emb, config, call) }, params: p.declared };
  });
}
