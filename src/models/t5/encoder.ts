/** @file The T5 encoder: one segment a layer, so that only one layer's weights are ever widened at a time, or whole. */
// B batch, S tokens, D width, H heads, K channels per head
import { attention, geluTanh } from "../../graph/functions.ts";
import { type Segment, traceSegment } from "../../graph/segment.ts";
import { constant, type Tensor } from "../../graph/tensor.ts";
import { embedding, linear, rmsNorm } from "../../nn/layers.ts";
import { layer, Scope } from "../../nn/scope.ts";
import type { T5Config } from "./config.ts";
import { relativeBuckets } from "./relative-positions.ts";

/** The segments of one call in the order they run. */
export type T5Segments = {
  readonly embed: Segment;
  readonly layers: readonly Segment[];
  readonly norm: Segment;
};

/** Self-attention without score scaling; `bias [1, H, S, S]` is the one of the first layer in every layer. */
const selfAttention = layer((p, x: Tensor, bias: Tensor, { heads, headDim, width }: T5Config) => {
  const project = (name: string) => linear(p.at(name), x, heads * headDim, { bias: false });
  const merged = attention([project("q"), project("k"), project("v")], heads, { scale: 1, bias });
  return linear(p.at("o"), merged, width, { bias: false });
});

const gatedFeedForward = layer((p, x: Tensor, { hidden, width }: T5Config) => {
  const gate = geluTanh(linear(p.at("wi_0"), x, hidden, { bias: false }));
  return linear(p.at("wo"), gate.mul(linear(p.at("wi_1"), x, hidden, { bias: false })), width, {
    bias: false,
  });
});

/** One encoder layer: attention, then feed-forward, each behind a root-mean-square norm and with a residual. */
const encoderLayer = layer((p, x: Tensor, bias: Tensor, config: T5Config) => {
  const [first, second] = [p.at("layer", 0), p.at("layer", 1)];
  const normed = rmsNorm(first.at("layer_norm"), x, config.eps);
  const attended = x.add(selfAttention(first.at("SelfAttention"), normed, bias, config));
  const between = rmsNorm(second.at("layer_norm"), attended, config.eps);
  return attended.add(gatedFeedForward(second.at("DenseReluDense"), between, config));
});

/** Position bias `[1, H, S, S]` from the table that only the first layer holds. */
const positionBias = layer((p, length: number, config: T5Config) => {
  const buckets = constant(relativeBuckets(length, config), [length, length], "i32");
  return embedding(p, buckets, config.buckets, config.heads)
    .reshape([1, length, length, config.heads])
    .transpose([0, 3, 1, 2]);
});

/** The whole encoder as one graph, for training: `ids [B, S]`, int32 or int64, to states `[B, S, D]`. */
export const t5Encode = layer((p, ids: Tensor, config: T5Config): Tensor => {
  const bias = positionBias(biasTable(p), ids.dim(1), config);
  let x = embedding(p.at("shared"), ids, config.vocabulary, config.width);
  for (let i = 0; i < config.layers; i++) x = encoderLayer(p.at("encoder", "block", i), x, bias, config);
  return rmsNorm(p.at("encoder", "final_layer_norm"), x, config.eps);
});

function biasTable(p: Scope): Scope {
  return p.at("encoder", "block", 0, "layer", 0, "SelfAttention", "relative_attention_bias");
}

/** Traces every segment for `ids [batch, length]`; ids are int32. The last output is `[batch, length, width]`. */
export function t5Segments(config: T5Config, batch: number, length: number): T5Segments {
  const state = [batch, length, config.width];
  const bias = [1, config.heads, length, length];
  const ids = { shape: [batch, length], dtype: "i32" as const };
  const embed = traceSegment("text embedding", { ids }, (inputs) => {
    const p = new Scope();
    return {
      outputs: {
        x: embedding(p.at("shared"), inputs.ids, config.vocabulary, config.width),
        bias: positionBias(biasTable(p), length, config),
      },
      params: p.declared,
    };
  });
  const layers = Array.from({ length: config.layers }, (_, i) => {
    const p = new Scope().at("encoder", "block", i);
    return traceSegment(p.path, { x: state, bias }, (inputs) => ({
      outputs: { x: encoderLayer(p, inputs.x, inputs.bias, config) },
      params: p.declared,
    }));
  });
  const norm = traceSegment("text norm", { x: state }, (inputs) => {
    const p = new Scope();
    return {
      outputs: { x: rmsNorm(p.at("encoder", "final_layer_norm"), inputs.x, config.eps) },
      params: p.declared,
    };
  });
  return { embed, layers, norm };
}
