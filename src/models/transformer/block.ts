/** @file One block of the expert transformer: text and video share attention and feed-forward, not their norms. */
// B batch, N video tokens, T text tokens, S = T + N, D width, H heads, d channels per head
import { attention, concat, geluTanh, layerNorm as normalize, rotary, silu } from "../../graph/functions.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { inPieces, layerNorm, linear } from "../../nn/layers.ts";
import { layer } from "../../nn/scope.ts";
import type { TransformerConfig } from "./config.ts";

/** The two token streams that run through the model: video `[B, N, D]`, text `[B, T, D]`. */
export type Streams = { readonly video: Tensor; readonly text: Tensor };

/** Rotary rows for the joint sequence, `[1 or B, S, d / 2]` each. */
export type Rotation = { readonly cos: Tensor; readonly sin: Tensor };

/** Attention over the joint sequence `[B, S, D]`. */
export type Attend = (qkv: readonly [q: Tensor, k: Tensor, v: Tensor], heads: number) => Tensor;

/** How samples lie in the streams: one in every row of the batch, or several behind each other in one packed row. */
export type Arrangement = {
  /** Rows of a modulation, one `[1, C]` per sample, to go with every token of a stream. */
  readonly toVideo: (rows: Tensor) => Tensor;
  readonly toText: (rows: Tensor) => Tensor;
  /** Says who attends to whom. */
  readonly attend: Attend;
};

/** The arrangement of the released models. */
export const oneSamplePerRow: Arrangement = {
  toVideo: (rows) => rows,
  toText: (rows) => rows,
  attend: (qkv, heads) => attention(qkv, heads),
};

/** Epsilon of the query and key norms, fixed in the reference. */
const QK_EPS = 1e-6;

/** One block; `emb [B, timeDim]` is the conditioning vector of every sample. */
export const block = layer(
  (
    p,
    streams: Streams,
    emb: Tensor,
    rotation: Rotation | null,
    config: TransformerConfig,
    arrangement: Arrangement = oneSamplePerRow,
  ): Streams => {
    const norm = { eps: config.normEps, ...arrangement };
    const attended = expertNorm(p.at("norm1"), streams, emb, norm);
    const a = jointAttention(p.at("attn1"), attended, rotation, { ...config, ...arrangement });
    return feedForwardPart(p, addGated(streams, a, attended), emb, config, arrangement);
  },
);

/** What the attention of a block says, before its gate: the part of a block that varies least from step to step. */
export const attentionPart = layer(
  (
    p,
    streams: Streams,
    emb: Tensor,
    rotation: Rotation | null,
    config: TransformerConfig,
    arrangement: Arrangement = oneSamplePerRow,
  ): Streams => {
    const normed = expertNorm(p.at("norm1"), streams, emb, { eps: config.normEps, ...arrangement });
    return jointAttention(p.at("attn1"), normed, rotation, { ...config, ...arrangement });
  },
);

/** The rest of a block, given what its attention says. */
export const restPart = layer(
  (
    p,
    streams: Streams,
    attended: Streams,
    emb: Tensor,
    config: TransformerConfig,
    arrangement: Arrangement = oneSamplePerRow,
  ): Streams => {
    const part = modulation(p.at("norm1"), emb, config.width);
    const gates = { videoGate: arrangement.toVideo(part(2)), textGate: arrangement.toText(part(5)) };
    return feedForwardPart(p, addGated(streams, attended, gates), emb, config, arrangement);
  },
);

const feedForwardPart = layer(
  (p, streams: Streams, emb: Tensor, config: TransformerConfig, arrangement: Arrangement): Streams => {
    const fed = expertNorm(p.at("norm2"), streams, emb, { eps: config.normEps, ...arrangement });
    const f = split(feedForward(p.at("ff"), join(fed), config.width), streams.text.dim(1));
    return addGated(streams, f, fed);
  },
);

type Gates = { readonly videoGate: Tensor; readonly textGate: Tensor };

/**
 * Expert adaptive layer norm: one LayerNorm for both streams, a shift, scale and gate of their own for each.
 * The modulation is folded into the norm's affine part: LN(x)(1 + s) + h with weights w, b is a norm with weights
 * w(1 + s), b(1 + s) + h.
 */
const expertNorm = layer(
  (
    p,
    { video, text }: Streams,
    emb: Tensor,
    { eps, toVideo, toText }: Arrangement & { eps: number },
  ): Streams & Gates => {
    const width = video.dim(-1);
    const part = modulation(p, emb, width);
    const weight = p.at("norm").param("weight", [width]);
    const bias = p.at("norm").param("bias", [width]);
    const modulated = (x: Tensor, shift: Tensor, scale: Tensor, spread: Arrangement["toVideo"]) => {
      const factor = scale.add(1);
      return normalize(x, spread(weight.mul(factor)), spread(bias.mul(factor).add(shift)), eps);
    };
    return {
      video: modulated(video, part(0), part(1), toVideo),
      text: modulated(text, part(3), part(4), toText),
      videoGate: toVideo(part(2)),
      textGate: toText(part(5)),
    };
  },
);

/** Shift, scale and gate of the video, then those of the text, `[B, 1, D]` each. */
const modulation = layer((p, emb: Tensor, width: number) => {
  const all = linear(p.at("linear"), silu(emb), 6 * width).reshape([-1, 1, 6 * width]); // [B, 1, 6D]
  return (i: number) => all.slice(2, i * width, (i + 1) * width);
});

/** Full attention over text and video together; queries and keys are normed per head, then rotated. */
const jointAttention = layer(
  (p, streams: Streams, rotation: Rotation | null, config: TransformerConfig & Arrangement): Streams => {
    const { heads, attentionBias } = config;
    const x = join(streams); // [B, S, D]
    const project = (name: string) => linear(p.at(name), x, x.dim(-1), { bias: attentionBias });
    const normed = (name: string, projected: Tensor) => {
      const perHead = projected.reshape([...x.shape.slice(0, 2), heads, -1]); // [B, S, H, d]
      const flat = layerNorm(p.at(name), perHead, QK_EPS).reshape(x.shape);
      return rotation === null ? flat : rotary(flat, rotation.cos, rotation.sin, heads);
    };
    const q = normed("norm_q", project("to_q"));
    const k = normed("norm_k", project("to_k"));
    const merged = config.attend([q, k, project("to_v")], heads);
    return split(linear(p.at("to_out", 0), merged, x.dim(-1)), streams.text.dim(1));
  },
);

const feedForward = layer((p, x: Tensor, width: number) =>
  inPieces(x, (rows) =>
    linear(p.at("net", 2), geluTanh(linear(p.at("net", 0, "proj"), rows, 4 * width)), width),
  ),
);

/** Text first, video behind it. */
export function join({ video, text }: Streams): Tensor {
  return concat([text, video], 1);
}

function split(x: Tensor, textLength: number): Streams {
  return { text: x.slice(1, 0, textLength), video: x.slice(1, textLength) };
}

function addGated(onto: Streams, { video, text }: Streams, { videoGate, textGate }: Gates): Streams {
  return { video: onto.video.add(videoGate.mul(video)), text: onto.text.add(textGate.mul(text)) };
}
