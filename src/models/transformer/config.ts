/** @file Configuration of the transformer, as `transformer/config.json` holds it. */
import { z } from "zod";
import { ConfigError } from "../../errors.ts";
import { count, parseConfig } from "../config-file.ts";

const schema = z.object({
  num_attention_heads: count.default(30),
  attention_head_dim: count.default(64),
  in_channels: count.default(16),
  out_channels: count.default(16),
  flip_sin_to_cos: z.literal(true).default(true),
  freq_shift: z.number().default(0),
  time_embed_dim: count.default(512),
  ofs_embed_dim: count.nullish(),
  text_embed_dim: count.default(4096),
  num_layers: count.default(30),
  attention_bias: z.boolean().default(true),
  sample_width: count.default(90),
  sample_height: count.default(60),
  sample_frames: count.default(49),
  patch_size: count.default(2),
  patch_size_t: count.nullish(),
  temporal_compression_ratio: count.default(4),
  max_text_seq_length: count.default(226),
  activation_fn: z.literal("gelu-approximate").default("gelu-approximate"),
  timestep_activation_fn: z.literal("silu").default("silu"),
  norm_elementwise_affine: z.literal(true).default(true),
  norm_eps: z.number().positive().default(1e-5),
  spatial_interpolation_scale: z.number().positive().default(1.875),
  temporal_interpolation_scale: z.number().positive().default(1),
  use_rotary_positional_embeddings: z.boolean().default(false),
  use_learned_positional_embeddings: z.boolean().default(false),
  patch_bias: z.boolean().default(true),
  add_noise_in_inpaint_model: z.boolean().optional(),
  // Ours. Loading and saving in the reference keeps fields that begin so, and says nothing about them.
  _guidance_scale: z.number("it must be a number such as 6").positive("it must be above 0").optional(),
});

/** The transformer's hyper-parameters in our names. Sizes are in latents, `sampleFrames` in pixel frames. */
export type TransformerConfig = {
  readonly heads: number;
  readonly headDim: number;
  /** Inner width: heads · headDim. */
  readonly width: number;
  readonly inChannels: number;
  readonly outChannels: number;
  readonly freqShift: number;
  readonly timeDim: number;
  /** Width of the `ofs` embedding of CogVideoX 1.5 image to video, null elsewhere. */
  readonly ofsDim: number | null;
  readonly textDim: number;
  readonly layers: number;
  readonly attentionBias: boolean;
  readonly sampleWidth: number;
  readonly sampleHeight: number;
  readonly sampleFrames: number;
  readonly patch: number;
  /** Temporal patch of CogVideoX 1.5 (2), null in 1.0. */
  readonly patchT: number | null;
  readonly temporalRatio: number;
  readonly maxTextLength: number;
  readonly normEps: number;
  readonly spatialScale: number;
  readonly temporalScale: number;
  readonly rotary: boolean;
  readonly learnedPositions: boolean;
  readonly patchBias: boolean;
  /** CogVideoX-Fun inpainting: trained with a little noise on the given pictures. */
  readonly noisyInpaint?: boolean;
  /** The guidance scale that suits the model, where the checkpoint says one. */
  readonly guidance?: number;
};

type Channels = Pick<TransformerConfig, "inChannels" | "outChannels">;

/** Channels that a model sees beside those of the noisy latents. */
export function conditionChannels({ inChannels, outChannels }: Channels): number {
  return inChannels - outChannels;
}

/** Whether a model sees as many channels again beside the noisy latents: those of an image, or of a control video. */
export function takesImage({ inChannels, outChannels }: Channels): boolean {
  return inChannels === 2 * outChannels;
}

/** Whether a model sees what a mask leaves of a clip: as many channels again, and one for the mask. */
export function takesMask({ inChannels, outChannels }: Channels): boolean {
  return inChannels === 2 * outChannels + 1;
}

/**
 * Reads a parsed `config.json`; missing fields take the reference's class defaults (those of CogVideoX-2b).
 * @throws ConfigError naming `source`, the field and its value
 */
export function parseTransformerConfig(json: unknown, source: string): TransformerConfig {
  const c = parseConfig(schema, json, source, "CogVideoXTransformer3DModel");
  if (c.use_learned_positional_embeddings && !c.use_rotary_positional_embeddings)
    throw new ConfigError(
      `${source}: use_learned_positional_embeddings is true while use_rotary_positional_embeddings is false; ` +
        "no released model has learned positions alone, set both",
    );
  return {
    heads: c.num_attention_heads,
    headDim: c.attention_head_dim,
    width: c.num_attention_heads * c.attention_head_dim,
    inChannels: c.in_channels,
    outChannels: c.out_channels,
    freqShift: c.freq_shift,
    timeDim: c.time_embed_dim,
    ofsDim: c.ofs_embed_dim ?? null,
    textDim: c.text_embed_dim,
    layers: c.num_layers,
    attentionBias: c.attention_bias,
    sampleWidth: c.sample_width,
    sampleHeight: c.sample_height,
    sampleFrames: c.sample_frames,
    patch: c.patch_size,
    patchT: c.patch_size_t ?? null,
    temporalRatio: c.temporal_compression_ratio,
    maxTextLength: c.max_text_seq_length,
    normEps: c.norm_eps,
    spatialScale: c.spatial_interpolation_scale,
    temporalScale: c.temporal_interpolation_scale,
    rotary: c.use_rotary_positional_embeddings,
    learnedPositions: c.use_learned_positional_embeddings,
    patchBias: c.patch_bias,
    ...(c.add_noise_in_inpaint_model ? { noisyInpaint: true } : {}),
    ...(c._guidance_scale === undefined ? {} : { guidance: c._guidance_scale }),
  };
}
