/** @file What a new checkpoint is described by, and the configuration files that say the same. */
import type { SchedulerClass } from "../../diffusion/schedule.ts";
import type { WordList } from "../../models/t5/tokenizer/write-sentencepiece.ts";
import { spatialRatio } from "../../models/vae/config.ts";

/**
 * A model to be created. Sizes that follow from others are not here: the transformer's text width is the encoder's,
 * its channels are the VAE's, and the vocabulary is as large as the tokenizer.
 */
export type CheckpointSpec = {
  readonly tokenizer: WordList;
  readonly textEncoder: {
    readonly width: number;
    readonly heads: number;
    readonly headDim: number;
    readonly layers: number;
    /** Width of the gated feed-forward. */
    readonly hidden: number;
  };
  readonly transformer: {
    readonly heads: number;
    /** Channels per head; with rotary positions a multiple of 16. */
    readonly headDim: number;
    readonly layers: number;
    /** Width of the conditioning vector. */
    readonly timeDim: number;
    /** Prompt length in tokens. */
    readonly maxTextLength: number;
    readonly patch: number;
    /** Temporal patch, null for none. */
    readonly patchT: number | null;
    /** Whether positions turn queries and keys (5B), are added to the tokens (2B), or both, with a learned table (5B-I2V). */
    readonly positions: "rotary" | "sincos" | "learned";
  };
  readonly vae: {
    /** Channels of every level, finest first; each but the last halves the resolution, and clips are generated with four. */
    readonly channels: readonly number[];
    /** ResNet blocks of an encoder level; the decoder has one more. */
    readonly layers: number;
    readonly latentChannels: number;
    readonly groups: number;
    /** Frames per latent frame: 1, 2, 4 or 8. */
    readonly temporalRatio: number;
    readonly scalingFactor: number;
  };
  readonly scheduler: {
    readonly className: Extract<SchedulerClass, `CogVideoX${string}`>;
    /** 1 for none (5B), 3 in the 2B model. */
    readonly snrShift: number;
  };
  /** Size of the clips the model is made for, in pixels. */
  readonly clip: { readonly frames: number; readonly height: number; readonly width: number };
};

/** A part of a checkpoint that has weights; the name of its folder. */
export type ComponentName = "text_encoder" | "transformer" | "vae";

/** Contents of every configuration file outside of `tokenizer/`, by its path in the folder. */
export type ConfigFiles = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/** The configuration files of a checkpoint, with every field that the official ones have. */
export function configFiles(spec: CheckpointSpec, vocabulary: number): ConfigFiles {
  return {
    "model_index.json": modelIndex(spec),
    "scheduler/scheduler_config.json": schedulerConfig(spec),
    "text_encoder/config.json": textEncoderConfig(spec, vocabulary),
    "transformer/config.json": transformerConfig(spec),
    "vae/config.json": vaeConfig(spec),
  };
}

function modelIndex({ scheduler }: CheckpointSpec) {
  return {
    _class_name: "CogVideoXPipeline",
    scheduler: ["diffusers", scheduler.className],
    text_encoder: ["transformers", "T5EncoderModel"],
    tokenizer: ["transformers", "T5Tokenizer"],
    transformer: ["diffusers", "CogVideoXTransformer3DModel"],
    vae: ["diffusers", "AutoencoderKLCogVideoX"],
  };
}

function schedulerConfig({ scheduler }: CheckpointSpec) {
  return {
    _class_name: scheduler.className,
    beta_end: 0.012,
    beta_schedule: "scaled_linear",
    beta_start: 0.00085,
    clip_sample: false,
    clip_sample_range: 1,
    num_train_timesteps: 1000,
    prediction_type: "v_prediction",
    rescale_betas_zero_snr: true,
    sample_max_value: 1,
    set_alpha_to_one: true,
    snr_shift_scale: scheduler.snrShift,
    steps_offset: 0,
    timestep_spacing: "trailing",
    trained_betas: null,
  };
}

// classifier_dropout and initializer_factor are left to their defaults: the reference takes 0 and 1 for integers,
// which it refuses there, and JSON written here has no 0.0.
function textEncoderConfig({ textEncoder }: CheckpointSpec, vocabulary: number) {
  return {
    architectures: ["T5EncoderModel"],
    d_ff: textEncoder.hidden,
    d_kv: textEncoder.headDim,
    d_model: textEncoder.width,
    decoder_start_token_id: 0,
    dense_act_fn: "gelu_new",
    dropout_rate: 0.1,
    eos_token_id: 1,
    feed_forward_proj: "gated-gelu",
    is_encoder_decoder: false,
    is_gated_act: true,
    layer_norm_epsilon: 1e-6,
    model_type: "t5",
    num_decoder_layers: textEncoder.layers,
    num_heads: textEncoder.heads,
    num_layers: textEncoder.layers,
    pad_token_id: 0,
    relative_attention_max_distance: 128,
    relative_attention_num_buckets: 32,
    tie_word_embeddings: false,
    torch_dtype: "float32",
    use_cache: false,
    vocab_size: vocabulary,
  };
}

function transformerConfig({ transformer, textEncoder, vae, clip }: CheckpointSpec) {
  const reduction = spatialRatio(vae);
  return {
    _class_name: "CogVideoXTransformer3DModel",
    activation_fn: "gelu-approximate",
    attention_bias: true,
    attention_head_dim: transformer.headDim,
    dropout: 0,
    flip_sin_to_cos: true,
    freq_shift: 0,
    in_channels: vae.latentChannels,
    max_text_seq_length: transformer.maxTextLength,
    norm_elementwise_affine: true,
    norm_eps: 1e-5,
    num_attention_heads: transformer.heads,
    num_layers: transformer.layers,
    ofs_embed_dim: null,
    out_channels: vae.latentChannels,
    patch_bias: transformer.patchT === null,
    patch_size: transformer.patch,
    patch_size_t: transformer.patchT,
    sample_frames: clip.frames,
    sample_height: clip.height / reduction,
    sample_width: clip.width / reduction,
    spatial_interpolation_scale: 1.875,
    temporal_compression_ratio: vae.temporalRatio,
    temporal_interpolation_scale: 1,
    text_embed_dim: textEncoder.width,
    time_embed_dim: transformer.timeDim,
    timestep_activation_fn: "silu",
    use_learned_positional_embeddings: transformer.positions === "learned",
    use_rotary_positional_embeddings: transformer.positions !== "sincos",
  };
}

function vaeConfig({ vae, clip, transformer }: CheckpointSpec) {
  return {
    _class_name: "AutoencoderKLCogVideoX",
    act_fn: "silu",
    block_out_channels: vae.channels,
    down_block_types: vae.channels.map(() => "CogVideoXDownBlock3D"),
    force_upcast: true,
    in_channels: 3,
    invert_scale_latents: transformer.patchT !== null,
    latent_channels: vae.latentChannels,
    latents_mean: null,
    latents_std: null,
    layers_per_block: vae.layers,
    norm_eps: 1e-6,
    norm_num_groups: vae.groups,
    out_channels: 3,
    sample_height: clip.height,
    sample_width: clip.width,
    scaling_factor: vae.scalingFactor,
    shift_factor: null,
    temporal_compression_ratio: vae.temporalRatio,
    up_block_types: vae.channels.map(() => "CogVideoXUpBlock3D"),
    use_post_quant_conv: false,
    use_quant_conv: false,
  };
}
