/** @file The parameters of every released transformer: as many as there are, and all of them used. */
import { describe, expect, test } from "vitest";
import { transformerConfigs } from "../../../test/helpers/released-models.ts";
import { unusedParams } from "../../graph/segment.ts";
import { sizeOf } from "../../graph/shape.ts";
import { parseTransformerConfig } from "./config.ts";
import { positionsFor } from "./positions/positions.ts";
import { type TransformerSegments, transformerSegments } from "./transformer.ts";

/** Tensors and parameters of each checkpoint; the learned position table counts as a tensor, not as parameters. */
const released = [
  { name: "2b", tensors: 736, parameters: 1_693_783_872, table: 0 },
  { name: "5b", tensors: 1024, parameters: 5_570_283_072, table: 0 },
  { name: "5b-I2V", tensors: 1025, parameters: 5_570_479_680, table: 54_607_872 },
  { name: "1.5-5B", tensors: 1024, parameters: 5_570_676_352, table: 0 },
  { name: "1.5-5B-I2V", tensors: 1028, parameters: 5_571_594_880, table: 0 },
  { name: "Fun-5b", tensors: 1024, parameters: 5_570_479_680, table: 0 },
] as const;

const configOf = (name: keyof typeof transformerConfigs) =>
  parseTransformerConfig(transformerConfigs[name], `${name}/config.json`);

function segmentsOf(name: keyof typeof transformerConfigs): TransformerSegments {
  const config = configOf(name);
  const size = config.patchT === null ? [13, 60, 90] : [22, 96, 170];
  const [frames, height, width] = size;
  const { kind } = positionsFor(config, { frames, height, width }, 226).added;
  return transformerSegments(config, { batch: 2, frames, height, width, textLength: 226, added: kind });
}

describe.each(released)("CogVideoX-$name", ({ name, tensors, parameters, table }) => {
  const { embed, blocks, head } = segmentsOf(name);
  const all = [embed, ...blocks, head];
  const shapes = new Map(
    all.flatMap(({ params }) => [...params].map(([key, { shape }]) => [key, shape] as const)),
  );

  test("declares as many tensors and parameters as its checkpoint holds", () => {
    expect(shapes.size).toBe(tensors);
    const count = [...shapes.values()].reduce((sum, shape) => sum + sizeOf(shape), 0);
    expect(count).toBe(parameters + table);
  });

  test("declares every key in one segment only, and uses it", () => {
    expect(all.reduce((sum, { params }) => sum + params.size, 0)).toBe(tensors);
    expect(all.flatMap(unusedParams)).toEqual([]);
  });

  test("has 24 tensors in every block", () => {
    expect(blocks.map(({ params }) => params.size)).toEqual(blocks.map(() => 24));
    expect(blocks.map((block) => block.name)).toEqual(blocks.map((_, i) => `transformer_blocks.${i}`));
  });
});

test("keys and shapes are those of the checkpoints", () => {
  const shapeOf = (name: keyof typeof transformerConfigs, key: string) =>
    [...segmentsOf(name).embed.params, ...segmentsOf(name).head.params].find(([known]) => known === key)?.[1]
      .shape;
  expect(shapeOf("2b", "patch_embed.proj.weight")).toEqual([1920, 16, 2, 2]);
  expect(shapeOf("5b-I2V", "patch_embed.pos_embedding")).toEqual([1, 17776, 3072]);
  expect(shapeOf("1.5-5B", "patch_embed.proj.weight")).toEqual([3072, 128]);
  expect(shapeOf("1.5-5B-I2V", "patch_embed.proj.weight")).toEqual([3072, 256]);
  expect(shapeOf("1.5-5B-I2V", "ofs_embedding.linear_1.weight")).toEqual([512, 512]);
  expect(shapeOf("5b", "proj_out.weight")).toEqual([64, 3072]);
  expect(shapeOf("1.5-5B", "proj_out.weight")).toEqual([128, 3072]);
  expect(shapeOf("5b", "norm_out.linear.weight")).toEqual([6144, 512]);
});

test("a block names its parameters as the checkpoints do", () => {
  const keys = [...segmentsOf("5b").blocks[0].params.keys()].map((key) =>
    key.replace("transformer_blocks.0.", ""),
  );
  expect(keys.sort()).toEqual(
    [
      ["attn1.norm_k", "attn1.norm_q", "attn1.to_k", "attn1.to_out.0", "attn1.to_q", "attn1.to_v"],
      ["ff.net.0.proj", "ff.net.2", "norm1.linear", "norm1.norm", "norm2.linear", "norm2.norm"],
    ]
      .flat()
      .flatMap((name) => [`${name}.bias`, `${name}.weight`]),
  );
});

test("shapes at the borders of segments are those of the joint sequence", () => {
  const { embed, blocks, head } = segmentsOf("5b");
  expect(embed.outputs.video.shape).toEqual([2, 17550, 3072]);
  expect(embed.outputs.text.shape).toEqual([2, 226, 3072]);
  expect(embed.outputs.emb.shape).toEqual([2, 512]);
  expect(blocks[0].inputs.cos.shape).toEqual([1, 17776, 32]);
  expect(head.outputs.sample.shape).toEqual([2, 13, 16, 60, 90]);
  expect(segmentsOf("1.5-5B").embed.outputs.video.shape).toEqual([2, 44880, 3072]);
  expect(segmentsOf("1.5-5B").head.outputs.sample.shape).toEqual([2, 22, 16, 96, 170]);
});
