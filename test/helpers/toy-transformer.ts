/** @file The `config.json` of the small transformer that the golden numbers are made with. */

/** Two heads of 16 channels, two blocks, latents of 8 x 6 in 9 frames; positions are added sines. */
export const toyTransformer = {
  num_attention_heads: 2,
  attention_head_dim: 16,
  in_channels: 4,
  out_channels: 4,
  time_embed_dim: 8,
  text_embed_dim: 12,
  num_layers: 2,
  sample_width: 8,
  sample_height: 6,
  sample_frames: 9,
  max_text_seq_length: 5,
} as const;
