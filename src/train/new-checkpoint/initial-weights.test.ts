/** @file How parameters start: each by its own rule, each by its own numbers. */
import { describe, expect, test } from "vitest";
import { ConfigError } from "../../errors.ts";
import { initialWeights } from "./initial-weights.ts";

function start(key: string, shape: readonly number[], seed = 1): Float32Array {
  return initialWeights(new Map([[key, shape]]), { seed, textHeadDim: 16 }).get(key)!.data;
}

function deviation(values: Float32Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
}

const block = "transformer_blocks.3";
const layer = "encoder.block.1.layer";

describe("initialWeights", () => {
  test.each([
    [`${block}.norm1.linear.weight`, [600, 10], 0],
    [`${block}.norm2.linear.bias`, [600], 0],
    ["norm_out.linear.weight", [200, 10], 0],
    ["proj_out.weight", [64, 100], 0],
    ["patch_embed.pos_embedding", [1, 20, 10], 0],
    [`${block}.norm1.norm.weight`, [100], 1],
    [`${block}.attn1.norm_q.weight`, [16], 1],
    [`${block}.attn1.norm_q.bias`, [16], 0],
    ["norm_final.weight", [100], 1],
    [`${block}.attn1.to_out.0.bias`, [100], 0],
    [`${layer}.0.layer_norm.weight`, [100], 1],
    ["encoder.final_layer_norm.weight", [100], 1],
    ["encoder.down_blocks.0.resnets.0.norm1.weight", [16], 1],
    ["decoder.mid_block.resnets.0.norm1.norm_layer.weight", [16], 1],
    ["decoder.mid_block.resnets.0.norm1.conv_y.conv.bias", [16], 1],
    ["decoder.mid_block.resnets.0.norm1.conv_b.conv.weight", [16, 4, 1, 1, 1], 0],
    ["decoder.norm_out.conv_b.conv.bias", [16], 0],
    ["decoder.conv_in.conv.bias", [16], 0],
  ])("starts %s %j at %d", (key, shape, value) => {
    expect(new Set(start(key, shape))).toEqual(new Set([value]));
  });

  test.each([
    ["shared.weight", [100, 64], 1],
    [`${layer}.0.SelfAttention.q.weight`, [64, 100], 1 / 40],
    [`${layer}.0.SelfAttention.o.weight`, [100, 64], 1 / 8],
    [`${layer}.1.DenseReluDense.wo.weight`, [64, 256], 1 / 16],
    ["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", [1024, 4], 1 / 8],
    [`${block}.attn1.to_q.weight`, [100, 100], 0.1],
    [`${block}.ff.net.0.proj.weight`, [128, 72], 0.1],
    ["patch_embed.proj.weight", [136, 16, 2, 2], 0.1],
    ["patch_embed.text_proj.weight", [100, 100], 0.1],
    ["time_embedding.linear_1.weight", [100, 100], 0.1],
    ["encoder.conv_in.conv.weight", [128, 3, 3, 3, 3], 1 / 9],
    ["decoder.up_blocks.0.upsamplers.0.conv.weight", [32, 32, 3, 3], 1 / Math.sqrt(288)],
    ["encoder.down_blocks.1.resnets.0.conv_shortcut.weight", [64, 48, 1, 1, 1], 1 / Math.sqrt(48)],
    ["decoder.mid_block.resnets.0.norm2.conv_y.conv.weight", [256, 16, 1, 1, 1], 0.02],
  ])("draws %s %j with deviation %d", (key, shape, expected) => {
    expect(Math.abs(deviation(start(key, shape)) / expected - 1)).toBeLessThan(0.06);
  });

  test("depends on seed and key, and not on what else is made", () => {
    const shapes = new Map([
      ["transformer_blocks.0.attn1.to_q.weight", [8, 8]],
      ["transformer_blocks.0.attn1.to_k.weight", [8, 8]],
    ]);
    const [[q, first], [k, second]] = initialWeights(shapes, { seed: 1 });
    expect(start(k, [8, 8])).toEqual(second.data);
    expect(first.data).not.toEqual(second.data);
    expect(start(q, [8, 8], 2)).not.toEqual(first.data);
  });

  test("refuses a key that no rule knows", () => {
    expect(() => start("mystery.weight", [2, 2])).toThrow(ConfigError);
    expect(() => start("mystery.weight", [2, 2])).toThrow("no rule says how mystery.weight starts");
  });
});
