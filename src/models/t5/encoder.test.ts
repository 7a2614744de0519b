/** @file The parameters of the released text encoder. */
import { expect, test } from "vitest";
import { t5XxlConfig } from "../../../test/helpers/released-models.ts";
import { unusedParams } from "../../graph/segment.ts";
import { sizeOf } from "../../graph/shape.ts";
import { parseT5Config } from "./config.ts";
import { t5Segments } from "./encoder.ts";

const { embed, layers, norm } = t5Segments(parseT5Config(t5XxlConfig, "config.json"), 2, 226);
const all = [embed, ...layers, norm];
const shapes = new Map(
  all.flatMap(({ params }) => [...params].map(([key, { shape }]) => [key, shape] as const)),
);

test("T5-XXL declares every tensor of its checkpoint but the second name of the token embedding", () => {
  expect(shapes.size).toBe(219);
  expect(shapes.has("encoder.embed_tokens.weight")).toBe(false);
  expect([...shapes.values()].reduce((sum, shape) => sum + sizeOf(shape), 0)).toBe(4_762_310_656);
  expect(all.flatMap(unusedParams)).toEqual([]);
});

test("keys and shapes are those of the checkpoint", () => {
  const attention = "encoder.block.23.layer.0.SelfAttention";
  expect(shapes.get("shared.weight")).toEqual([32128, 4096]);
  expect(shapes.get("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight")).toEqual([
    32, 64,
  ]);
  expect(shapes.has("encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight")).toBe(false);
  for (const name of ["q", "k", "v", "o"])
    expect(shapes.get(`${attention}.${name}.weight`)).toEqual([4096, 4096]);
  expect(shapes.get("encoder.block.23.layer.1.DenseReluDense.wi_0.weight")).toEqual([10240, 4096]);
  expect(shapes.get("encoder.block.23.layer.1.DenseReluDense.wo.weight")).toEqual([4096, 10240]);
  expect(shapes.get("encoder.final_layer_norm.weight")).toEqual([4096]);
});

test("no key is declared in two segments", () => {
  expect(all.reduce((sum, { params }) => sum + params.size, 0)).toBe(219);
});

test("states keep their shape from layer to layer", () => {
  expect(embed.outputs.bias.shape).toEqual([1, 64, 226, 226]);
  for (const { outputs } of [embed, ...layers, norm]) expect(outputs.x.shape).toEqual([2, 226, 4096]);
});
