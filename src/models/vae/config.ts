/** @file Configuration of the 3D causal VAE, as `vae/config.json` holds it. */
import { z } from "zod";
import { ConfigError } from "../../errors.ts";
import { count, parseConfig } from "../config-file.ts";

const schema = z.object({
  in_channels: count.default(3),
  out_channels: count.default(3),
  down_block_types: z.array(z.literal("CogVideoXDownBlock3D")).optional(),
  up_block_types: z.array(z.literal("CogVideoXUpBlock3D")).optional(),
  block_out_channels: z.array(count).min(2).default([128, 256, 256, 512]),
  latent_channels: count.default(16),
  layers_per_block: count.default(3),
  act_fn: z.literal("silu").default("silu"),
  norm_eps: z.number().positive().default(1e-6),
  norm_num_groups: count.default(32),
  temporal_compression_ratio: z.literal([1, 2, 4, 8]).default(4),
  sample_height: count.default(480),
  sample_width: count.default(720),
  scaling_factor: z.number().positive().default(1.15258426),
  invert_scale_latents: z.boolean().default(false),
  use_quant_conv: z.literal(false).default(false),
  use_post_quant_conv: z.literal(false).default(false),
});

/** The VAE's hyper-parameters in our names. */
export type VaeConfig = {
  readonly inChannels: number;
  readonly outChannels: number;
  /** Channels of every level, finest first; each level but the last halves the resolution. */
  readonly channels: readonly number[];
  readonly latentChannels: number;
  /** ResNet blocks of an encoder level; the decoder has one more. */
  readonly layers: number;
  readonly eps: number;
  readonly groups: number;
  /** Levels that halve time too: log2 of the temporal ratio. */
  readonly temporalLevels: number;
  /** Pixel size that tile sizes derive from. */
  readonly sampleHeight: number;
  readonly sampleWidth: number;
  /** Latents of the transformer are latents of the VAE times this. */
  readonly scalingFactor: number;
  /** Image conditions are divided by the scale instead (CogVideoX 1.5). */
  readonly invertScale: boolean;
};

/** Pixels a side that one latent stands for. */
export function spatialRatio({ channels }: Pick<VaeConfig, "channels">): number {
  return 2 ** (channels.length - 1);
}

/** Frames that one latent stands for, but the first, which stands for one. */
export function temporalRatio({ temporalLevels }: Pick<VaeConfig, "temporalLevels">): number {
  return 2 ** temporalLevels;
}

/**
 * Reads a parsed `config.json`; missing fields take the released models' values.
 * @throws ConfigError naming `source`, the field and its value
 */
export function parseVaeConfig(json: unknown, source: string): VaeConfig {
  const c = parseConfig(schema, json, source, "AutoencoderKLCogVideoX");
  for (const channels of c.block_out_channels)
    if (channels % c.norm_num_groups !== 0)
      throw new ConfigError(
        `${source}: block_out_channels has ${channels}, which norm_num_groups (${c.norm_num_groups}) does not divide`,
      );
  return {
    inChannels: c.in_channels,
    outChannels: c.out_channels,
    channels: c.block_out_channels,
    latentChannels: c.latent_channels,
    layers: c.layers_per_block,
    eps: c.norm_eps,
    groups: c.norm_num_groups,
    temporalLevels: Math.log2(c.temporal_compression_ratio),
    sampleHeight: c.sample_height,
    sampleWidth: c.sample_width,
    scalingFactor: c.scaling_factor,
    invertScale: c.invert_scale_latents,
  };
}
