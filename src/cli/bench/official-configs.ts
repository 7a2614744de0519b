/** @file Configurations of the official models' widths, as their checkpoints hold them, for weights that are random. */

/** `model_index.json` of a text-to-video checkpoint. */
export const modelIndex = { _class_name: "CogVideoXPipeline" };

/** CogVideoX-2B's transformer with rotary positions. */
export const transformer2b = {
  _class_name: "CogVideoXTransformer3DModel",
  num_attention_heads: 30,
  attention_head_dim: 64,
  num_layers: 30,
  in_channels: 16,
  out_channels: 16,
  time_embed_dim: 512,
  text_embed_dim: 4096,
  max_text_seq_length: 226,
  sample_width: 90,
  sample_height: 60,
  sample_frames: 49,
  use_rotary_positional_embeddings: true,
};

/** The encoder of T5 v1.1 XXL. */
export const t5Xxl = {
  model_type: "t5",
  vocab_size: 32128,
  d_model: 4096,
  d_kv: 64,
  d_ff: 10240,
  num_layers: 24,
  num_heads: 64,
  feed_forward_proj: "gated-gelu",
};

/** The VAE that all released models share. */
export const vae = {
  _class_name: "AutoencoderKLCogVideoX",
  in_channels: 3,
  out_channels: 3,
  block_out_channels: [128, 256, 256, 512],
  down_block_types: Array(4).fill("CogVideoXDownBlock3D"),
  up_block_types: Array(4).fill("CogVideoXUpBlock3D"),
  latent_channels: 16,
  layers_per_block: 3,
  norm_num_groups: 32,
  sample_height: 480,
  sample_width: 720,
  scaling_factor: 1.15258426,
};

/** The scheduler of CogVideoX-2b. */
export const scheduler = {
  _class_name: "CogVideoXDDIMScheduler",
  prediction_type: "v_prediction",
  timestep_spacing: "trailing",
  rescale_betas_zero_snr: true,
  snr_shift_scale: 3,
  clip_sample: false,
};
