/** @file Configuration of the T5 text encoder, as `text_encoder/config.json` holds it. */
import { z } from "zod";
import { ConfigError } from "../../errors.ts";
import { count, parseConfig } from "../config-file.ts";

const schema = z.object({
  model_type: z.literal("t5").default("t5"),
  vocab_size: count.default(32128),
  d_model: count.default(512),
  d_kv: count.default(64),
  d_ff: count.default(2048),
  num_layers: count.default(6),
  num_heads: count.default(8),
  relative_attention_num_buckets: count.default(32),
  relative_attention_max_distance: count.default(128),
  feed_forward_proj: z.string().default("relu"),
  layer_norm_epsilon: z.number().positive().default(1e-6),
});

/** The encoder's hyper-parameters in our names. */
export type T5Config = {
  readonly vocabulary: number;
  readonly width: number;
  readonly heads: number;
  readonly headDim: number;
  readonly hidden: number;
  readonly layers: number;
  readonly buckets: number;
  readonly maxDistance: number;
  readonly eps: number;
};

/**
 * Reads a parsed `config.json` of a T5 v1.1 encoder.
 * @throws ConfigError naming `source`, the field and its value
 */
export function parseT5Config(json: unknown, source: string): T5Config {
  const c = parseConfig(schema, json, source);
  if (c.feed_forward_proj !== "gated-gelu")
    throw new ConfigError(
      `${source}: feed_forward_proj is ${JSON.stringify(c.feed_forward_proj)}; ` +
        'CogVideoX uses T5 v1.1 encoders, whose feed-forward is "gated-gelu"',
    );
  return {
    vocabulary: c.vocab_size,
    width: c.d_model,
    heads: c.num_heads,
    headDim: c.d_kv,
    hidden: c.d_ff,
    layers: c.num_layers,
    buckets: c.relative_attention_num_buckets,
    maxDistance: c.relative_attention_max_distance,
    eps: c.layer_norm_epsilon,
  };
}
