/** @file A model with more input channels predicts what it predicted with fewer. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { runModel } from "../../../test/helpers/central-differences.ts";
import { hashWeights } from "../../../test/helpers/hash-fill.ts";
import { hashed } from "../../../test/helpers/host-tensor.ts";
import { ShapeError } from "../../errors.ts";
import { toOnnx } from "../../graph/onnx.ts";
import { input } from "../../graph/tensor.ts";
import { parseTransformerConfig } from "../../models/transformer/config.ts";
import { Scope } from "../../nn/scope.ts";
import { Engine } from "../../runtime/engine.ts";
import type { HostTensor } from "../../runtime/protocol.ts";
import { expandInputChannels } from "./channel-expansion.ts";
import { predictVelocity } from "./loss.ts";

const KEY = "patch_embed.proj.weight";
const base = {
  num_attention_heads: 2,
  attention_head_dim: 8,
  in_channels: 4,
  out_channels: 4,
  time_embed_dim: 8,
  text_embed_dim: 6,
  num_layers: 1,
  use_rotary_positional_embeddings: true,
};

let engine: Engine;
beforeAll(() => {
  engine = new Engine({ threads: 1 });
});
afterAll(() => engine.close());

test.each([
  ["a kernel", base],
  ["a matrix over time and space", { ...base, patch_size_t: 2 }],
])("%s with new channels of zeros gives the prediction of the old one", async (_, json) => {
  const feeds = {
    noisy: hashed([1, 2, 4, 4, 4], 1),
    timestep: hashed([1, 16], 2),
    text: hashed([1, 3, 6], 3),
    condition: hashed([1, 2, 4, 4, 4], 4),
  };
  const run = async (channels: number, weights?: Record<string, HostTensor>) => {
    const x = Object.fromEntries(Object.entries(feeds).map(([key, { shape }]) => [key, input(key, shape)]));
    const p = new Scope();
    const config = parseTransformerConfig({ ...json, in_channels: channels }, "config.json");
    const { noisy, timestep, text, condition } = x;
    const y = predictVelocity(p, noisy, { timestep, text, ...(channels > 4 ? { condition } : {}) }, config);
    const values = weights ?? weightsOf(p);
    const found = await runModel(engine, toOnnx({ y }), { ...feeds, ...values });
    return { y: found.y, values, shape: p.declared.get(KEY)!.shape };
  };
  const before = await run(4);
  const old = before.values[KEY];
  const grown = expandInputChannels({ shape: old.shape, data: old.data as Float32Array }, 4, 8);
  const after = await run(8, { ...before.values, [KEY]: { dtype: "f32", ...grown } });
  expect(grown.shape).toEqual(after.shape);
  expect(after.y).toBeCloseToArray(before.y, { atol: 1e-6 });
});

test("a weight of other channels is refused", () => {
  const weight = { shape: [2, 3, 2, 2], data: new Float32Array(24) };
  expect(() => expandInputChannels(weight, 4, 8)).toThrow(ShapeError);
  expect(() => expandInputChannels(weight, 3, 2)).toThrow(ShapeError);
});

function weightsOf(p: Scope): Record<string, HostTensor> {
  const shapes = Object.fromEntries([...p.declared].map(([key, { shape }]) => [key, shape]));
  const values = [...hashWeights(shapes)];
  return Object.fromEntries(values.map(([key, data]) => [key, { dtype: "f32", shape: shapes[key], data }]));
}
