/** @file The parameters of the released text encoder, and the encoder as one graph. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { runModel } from "../../../test/helpers/central-differences.ts";
import { hashWeights } from "../../../test/helpers/hash-fill.ts";
import { t5XxlConfig } from "../../../test/helpers/released-models.ts";
import { toOnnx } from "../../graph/onnx.ts";
import { unusedParams } from "../../graph/segment.ts";
import { sizeOf } from "../../graph/shape.ts";
import { input } from "../../graph/tensor.ts";
import { Scope } from "../../nn/scope.ts";
import { Engine } from "../../runtime/engine.ts";
import { parseT5Config } from "./config.ts";
import { t5Encode, t5Segments } from "./encoder.ts";

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

test("as one graph encodes what the reference encodes", async () => {
  const { T5_enc: golden } = JSON.parse(readFileSync("test/fixtures/golden/t5.json", "utf8"));
  const json = {
    vocab_size: 64,
    d_model: 12,
    d_kv: 4,
    d_ff: 20,
    num_layers: 2,
    num_heads: 3,
    feed_forward_proj: "gated-gelu",
  };
  const p = new Scope();
  const states = t5Encode(p, input("ids", [1, 10], "i32"), parseT5Config(json, "config.json"));
  const declared = [...p.declared].map(([key, tensor]) => [key, tensor.shape] as const);
  // The reference's list of keys names the tied table twice; the later name's values, those of `shared`, win.
  const tied = [["encoder.embed_tokens.weight", [64, 12]] as const];
  const values = hashWeights(Object.fromEntries([...declared, ...tied]));
  const weights = declared.map(
    ([key, shape]) => [key, { dtype: "f32" as const, shape, data: values.get(key)! }] as const,
  );
  const ids = Int32Array.of(5, 9, 33, 2, 61, 1, 0, 0, 0, 0);
  const engine = new Engine({ threads: 1 });
  const found = await runModel(engine, toOnnx({ states }), {
    ...Object.fromEntries(weights),
    ids: { dtype: "i32", shape: [1, 10], data: ids },
  });
  expect(found.states).toBeCloseToArray(golden.data, { atol: 1e-5 });
  await engine.close();
});
