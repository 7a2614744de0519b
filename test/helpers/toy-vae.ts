/** @file The `config.json` of the small VAE that the golden numbers are made with. */

/** Four levels, four latent channels, frames of 48 x 32; the scaling factor is the default of the format. */
export const toyVae = {
  block_out_channels: [8, 8, 16, 16],
  latent_channels: 4,
  layers_per_block: 1,
  norm_num_groups: 2,
  sample_height: 32,
  sample_width: 48,
} as const;
