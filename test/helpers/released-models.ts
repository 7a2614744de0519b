/** @file The configurations of the released models, as their config.json files hold them. */

const base2b = {
  num_attention_heads: 30,
  num_layers: 30,
  sample_width: 90,
  sample_height: 60,
  sample_frames: 49,
};
const base5b = { ...base2b, num_attention_heads: 48, num_layers: 42, use_rotary_positional_embeddings: true };
const base15 = {
  ...base5b,
  sample_width: 300,
  sample_height: 300,
  sample_frames: 81,
  patch_size_t: 2,
  patch_bias: false,
};

export const transformerConfigs = {
  "2b": base2b,
  "5b": base5b,
  "5b-I2V": { ...base5b, in_channels: 32, use_learned_positional_embeddings: true },
  "1.5-5B": base15,
  "1.5-5B-I2V": { ...base15, in_channels: 32, ofs_embed_dim: 512 },
  "Fun-5b": { ...base5b, in_channels: 32 },
} as const;

export const t5XxlConfig = {
  vocab_size: 32128,
  d_model: 4096,
  d_kv: 64,
  d_ff: 10240,
  num_layers: 24,
  num_heads: 64,
  feed_forward_proj: "gated-gelu",
} as const;
