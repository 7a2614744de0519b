/** @file The names of the SAT and the diffusers layout side by side: one table for each component, read both ways. */

import { matchPattern } from "./pattern.ts";

/** What a file of weights can be. */
export const components = ["transformer", "vae", "lora"] as const;
export type Component = (typeof components)[number];

/** The two ways to name and cut the same weights. */
export const layouts = ["diffusers", "sat"] as const;
export type Layout = (typeof layouts)[number];

/** One line of a table: a tensor's name here and there, and which rows of one the other holds. */
export type Row = {
  readonly sat: string;
  readonly diffusers: string;
  /**
   * With the SAT tensor cut along its first axis into `of` equal parts, the diffusers tensor is the parts `take`, one
   * behind the other; unless given it is the whole tensor.
   */
  readonly rows?: { readonly take: readonly number[]; readonly of: number };
  /** Not every model has it. */
  readonly optional?: boolean;
};

/** Tensors that have no counterpart, and why that is right. */
export type Drop = { readonly name: RegExp; readonly why: string };

export type Table = {
  readonly rows: readonly Row[];
  readonly drops: readonly Drop[];
  /** What may stand before the names of a layout; the first is written. */
  readonly prefixes: Readonly<Record<Layout, readonly string[]>>;
};

type Options = Pick<Row, "rows" | "optional">;

function named(sat: string, diffusers: string, options: Options = {}): Row {
  return { sat, diffusers, ...options };
}

function affine(sat: string, diffusers: string, options: Options = {}): Row[] {
  return ["weight", "bias"].map((name) => named(`${sat}.${name}`, `${diffusers}.${name}`, options));
}

const third = (k: number): Options => ({ rows: { take: [k], of: 3 } });

/**
 * SAT modulates the video's attention, the video's feed-forward, then the text's two, with a shift, a scale and a gate
 * each; diffusers has a layer for attention and one for feed-forward, with the video's three before the text's.
 */
const attentionModulation: Options = { rows: { take: [0, 1, 2, 6, 7, 8], of: 12 } };
const feedForwardModulation: Options = { rows: { take: [3, 4, 5, 9, 10, 11], of: 12 } };

const layer = "transformer.layers.{}";
const block = "transformer_blocks.{}";

/**
 * The patch embedding is one name in both: a convolution in CogVideoX 1.0, a matrix in 1.5, whose columns are in the
 * order (c, dt, dy, dx) here and there.
 */
const transformerRows: readonly Row[] = [
  ...affine("mixins.patch_embed.proj", "patch_embed.proj"),
  ...affine("mixins.patch_embed.text_proj", "patch_embed.text_proj"),
  named("mixins.pos_embed.pos_embedding", "patch_embed.pos_embedding", { optional: true }),
  ...affine("time_embed.0", "time_embedding.linear_1"),
  ...affine("time_embed.2", "time_embedding.linear_2"),
  ...affine("ofs_embed.0", "ofs_embedding.linear_1", { optional: true }),
  ...affine("ofs_embed.2", "ofs_embedding.linear_2", { optional: true }),
  ...affine("mixins.adaln_layer.adaLN_modulations.{}.1", `${block}.norm1.linear`, attentionModulation),
  ...affine("mixins.adaln_layer.adaLN_modulations.{}.1", `${block}.norm2.linear`, feedForwardModulation),
  ...affine(`${layer}.input_layernorm`, `${block}.norm1.norm`),
  ...affine(`${layer}.post_attention_layernorm`, `${block}.norm2.norm`),
  ...affine("mixins.adaln_layer.query_layernorm_list.{}", `${block}.attn1.norm_q`),
  ...affine("mixins.adaln_layer.key_layernorm_list.{}", `${block}.attn1.norm_k`),
  ...affine(`${layer}.attention.query_key_value`, `${block}.attn1.to_q`, third(0)),
  ...affine(`${layer}.attention.query_key_value`, `${block}.attn1.to_k`, third(1)),
  ...affine(`${layer}.attention.query_key_value`, `${block}.attn1.to_v`, third(2)),
  ...affine(`${layer}.attention.dense`, `${block}.attn1.to_out.0`),
  ...affine(`${layer}.mlp.dense_h_to_4h`, `${block}.ff.net.0.proj`),
  ...affine(`${layer}.mlp.dense_4h_to_h`, `${block}.ff.net.2`),
  ...affine("transformer.final_layernorm", "norm_final"),
  ...affine("mixins.final_layer.norm_final", "norm_out.norm"),
  ...affine("mixins.final_layer.adaLN_modulation.1", "norm_out.linear"),
  ...affine("mixins.final_layer.linear", "proj_out"),
];

/** A residual block; the norms of the decoder are steered by the latents and have three parts. */
function resnet(sat: string, diffusers: string, steered: boolean): Row[] {
  const parts = steered ? [".norm_layer", ".conv_y.conv", ".conv_b.conv"] : [""];
  const same = [
    ...["norm1", "norm2"].flatMap((norm) => parts.map((part) => norm + part)),
    "conv1.conv",
    "conv2.conv",
  ];
  return [
    ...same.flatMap((name) => affine(`${sat}.${name}`, `${diffusers}.${name}`)),
    ...affine(`${sat}.nin_shortcut`, `${diffusers}.conv_shortcut`, { optional: true }),
  ];
}

/** SAT counts the decoder's levels from the finest, diffusers from the coarsest. */
const vaeRows: readonly Row[] = [
  ...affine("encoder.conv_in.conv", "encoder.conv_in.conv"),
  ...resnet("encoder.down.{}.block.{}", "encoder.down_blocks.{}.resnets.{}", false),
  ...affine("encoder.down.{}.downsample.conv", "encoder.down_blocks.{}.downsamplers.0.conv"),
  ...resnet("encoder.mid.block_1", "encoder.mid_block.resnets.0", false),
  ...resnet("encoder.mid.block_2", "encoder.mid_block.resnets.1", false),
  ...affine("encoder.norm_out", "encoder.norm_out"),
  ...affine("encoder.conv_out.conv", "encoder.conv_out.conv"),
  ...affine("decoder.conv_in.conv", "decoder.conv_in.conv"),
  ...resnet("decoder.mid.block_1", "decoder.mid_block.resnets.0", true),
  ...resnet("decoder.mid.block_2", "decoder.mid_block.resnets.1", true),
  ...resnet("decoder.up.{-}.block.{}", "decoder.up_blocks.{}.resnets.{}", true),
  ...affine("decoder.up.{-}.upsample.conv", "decoder.up_blocks.{}.upsamplers.0.conv"),
  ...["norm_layer", "conv_y.conv", "conv_b.conv"].flatMap((part) =>
    affine(`decoder.norm_out.${part}`, `decoder.norm_out.${part}`),
  ),
  ...affine("decoder.conv_out.conv", "decoder.conv_out.conv"),
];

/** SAT adds to the fused projection with one pair of matrices for each of its thirds. */
const loraRows: readonly Row[] = ["A", "B"].flatMap((side) => [
  ...["to_q", "to_k", "to_v"].map((to, k) =>
    named(
      `${layer}.attention.query_key_value.matrix_${side}.${k}`,
      `${block}.attn1.${to}.lora_${side}.weight`,
      {
        optional: true,
      },
    ),
  ),
  named(`${layer}.attention.dense.matrix_${side}.0`, `${block}.attn1.to_out.0.lora_${side}.weight`, {
    optional: true,
  }),
]);

const otherParts: readonly Drop[] = [
  { name: /^(model_ema|ema)\./, why: "a moving average beside the weights" },
  { name: /^conditioner\./, why: "the text encoder, which is a component of its own" },
];

/** The tables of all components. */
export const tables: Readonly<Record<Component, Table>> = {
  transformer: {
    rows: transformerRows,
    drops: [
      { name: /(^|\.)freqs_(sin|cos)$/, why: "rotary tables are computed" },
      { name: /(^|\.)position_embeddings?\./, why: "SAT keeps it and never uses it" },
      { name: /(^|\.)embed_tokens\./, why: "the transformer takes no token numbers" },
      { name: /\.matrix_[AB]\.\d+$/, why: "a LoRA beside the weights; --component lora converts it" },
      { name: /^first_stage_model\./, why: "the VAE; --component vae converts it" },
      ...otherParts,
    ],
    prefixes: { sat: ["model.diffusion_model.", ""], diffusers: [""] },
  },
  vae: {
    rows: vaeRows,
    drops: [
      { name: /^loss\./, why: "networks of the training loss" },
      { name: /^model\.diffusion_model\./, why: "the transformer; --component transformer converts it" },
      ...otherParts,
    ],
    prefixes: { sat: ["", "first_stage_model."], diffusers: [""] },
  },
  lora: {
    rows: loraRows,
    drops: [{ name: /^(?!.*(matrix_[AB]|lora))/, why: "not part of the LoRA" }],
    prefixes: { sat: ["model.diffusion_model.", ""], diffusers: ["transformer.", ""] },
  },
};

/** The name without each prefix it may have. SAT wraps a layer that has a LoRA, and calls it `original` inside. */
export function spellings({ prefixes }: Table, layout: Layout, name: string): string[] {
  const plain = layout === "sat" ? name.replace(".original.", ".") : name;
  return prefixes[layout]
    .filter((prefix) => plain.startsWith(prefix))
    .map((prefix) => plain.slice(prefix.length));
}

/** How many tensors of the source the table of a component knows by the names of a layout. */
export function countMatches(tensors: Iterable<string>, component: Component, layout: Layout): number {
  const table = tables[component];
  let count = 0;
  for (const name of tensors)
    if (
      spellings(table, layout, name).some((bare) => table.rows.some((row) => matchPattern(row[layout], bare)))
    )
      count++;
  return count;
}
