/** @file Gradients against those of PyTorch in double precision, for the rules that are easy to get almost right. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  type Build,
  byRules,
  relativeError,
  runModel,
  SEED_KEY,
} from "../../test/helpers/central-differences.ts";
import { hashInput, hashWeights } from "../../test/helpers/hash-fill.ts";
import { hashed } from "../../test/helpers/host-tensor.ts";
import * as ops from "../graph/functions.ts";
import { toOnnx } from "../graph/onnx.ts";
import { constant, input, type Tensor } from "../graph/tensor.ts";
import { block } from "../models/transformer/block.ts";
import { parseTransformerConfig } from "../models/transformer/config.ts";
import { Scope } from "../nn/scope.ts";
import { Engine } from "../runtime/engine.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import { gradients } from "./grad.ts";

type Recorded = {
  readonly inputs: readonly (readonly number[])[];
  readonly gradients: Readonly<Record<string, readonly number[]>>;
  readonly loss?: number;
};

const recorded: Readonly<Record<string, Recorded>> = JSON.parse(
  readFileSync(new URL("../../test/fixtures/autodiff/gradients.json", import.meta.url), "utf8"),
);

type Of = (...x: [Tensor, Tensor, Tensor, Tensor]) => Tensor;

const cases: Readonly<Record<string, Of>> = {
  "conv 2d": (x, w, b) =>
    ops.conv(x, w, b, { strides: [2, 1], before: [1, 0], after: [2, 1], dilations: [1, 2], groups: 2 }),
  "conv 3d": (x, w, b) => ops.conv(x, w, b, { strides: [1, 2, 2], before: [2, 0, 1], after: [0, 1, 1] }),
  "convTranspose 2d": (x, w) =>
    ops.convTranspose(x, w, {
      strides: [2, 2],
      before: [1, 1],
      after: [1, 1],
      groups: 2,
      outputPadding: [1, 1],
    }),
  "averagePool overlapping": (x) => ops.averagePool(x, [3, 2, 2], [1, 2, 1]),
  layerNorm: (x, w, b) => ops.layerNorm(x, w, b, 1e-5),
  "layerNorm rows": (x, w, b) => ops.layerNorm(x, w, b, 1e-2),
  "layerNorm heads": (x, w, b) => ops.layerNorm(x, w, b, 1e-6),
  rmsNorm: (x, w) => ops.rmsNorm(x, w, 1e-6),
  attention: (q, k, v) => ops.attention([q, k, v], 3),
  "attention bias": (q, k, v, bias) => ops.attention([q, k, v], 3, { scale: 1, bias }),
  "attention bias per sample": (q, k, v, bias) => ops.attention([q, k, v], 2, { bias }),
  "gather repeated": (x) => ops.gather(x, constant(BigInt64Array.of(3n, 1n, 3n, 0n, 3n, 1n), [2, 3], "i64")),
  geluTanh: ops.geluTanh,
  silu: ops.silu,
  "softmax middle axis": (x) => ops.softmax(x, 1),
};

let engine: Engine;
beforeAll(() => {
  engine = new Engine({ threads: 1 });
});
afterAll(() => engine.close());

test("every recorded gradient has a test", () => {
  expect([...Object.keys(cases), "transformer block"].sort()).toEqual(Object.keys(recorded).sort());
});

test.each(Object.entries(cases))("%s", async (name, build) => {
  const { inputs, gradients: expected } = recorded[name];
  const found = await byRules(engine, build as Build, inputs.map(hashed));
  expectEqual(found, expected, 2e-6);
});

test("every parameter and input of a transformer block", async () => {
  const { graph, weights } = transformerBlock();
  const feed = (shape: readonly number[], key: number): HostTensor => ({
    dtype: "f32",
    shape,
    data: hashInput(shape, key),
  });
  const found = await runModel(engine, toOnnx(graph), {
    ...Object.fromEntries(
      [...weights].map(([key, { shape, data }]) => [key, { dtype: "f32", shape, data } as const]),
    ),
    video: feed([2, 6, 8], 1000),
    text: feed([2, 3, 8], 1001),
    emb: feed([2, 6], 1002),
    "seed video": feed([2, 6, 8], SEED_KEY),
    "seed text": feed([2, 3, 8], SEED_KEY + 1),
  });
  const { loss, ...grads } = found;
  expect(loss[0]).toBeCloseTo(recorded["transformer block"].loss!, 4);
  expectEqual(grads, recorded["transformer block"].gradients, 1e-5);
});

/** The block of the fixture: its weighted sum and the gradients of everything in it. */
function transformerBlock() {
  const json = { num_attention_heads: 2, attention_head_dim: 4, time_embed_dim: 6 };
  const config = parseTransformerConfig(json, "config.json");
  const p = new Scope();
  const inputs = {
    video: input("video", [2, 6, 8]),
    text: input("text", [2, 3, 8]),
    emb: input("emb", [2, 6]),
  };
  const angles = [0, 0, 0, 0, 0, 0, ...hashInput([6, 2], 1003)]; // text tokens do not turn
  const rows = (f: (angle: number) => number) => constant(Float32Array.from(angles, f), [1, 9, 2]);
  const rotation = { cos: rows(Math.cos), sin: rows(Math.sin) };
  const { video, text } = block(p, inputs, inputs.emb, rotation, config);
  const weighted = (x: Tensor, name: string) => x.mul(input(name, x.shape)).sum([0, 1, 2]);
  const loss = weighted(video, "seed video").add(weighted(text, "seed text"));
  const wrt = { ...inputs, ...Object.fromEntries(p.declared) };
  const found = gradients(loss, Object.values(wrt));
  const graph = { loss, ...Object.fromEntries(Object.keys(wrt).map((key, i) => [key, found[i]])) };
  const shapes = Object.fromEntries([...p.declared].map(([key, { shape }]) => [key, shape]));
  const values = hashWeights(shapes);
  const weights = new Map([...values].map(([key, data]) => [key, { shape: shapes[key], data }]));
  return { graph, weights };
}

/** Every array within `tolerance` of its largest entry. */
function expectEqual(
  found: Readonly<Record<string, readonly number[]>>,
  expected: Readonly<Record<string, readonly number[]>>,
  tolerance: number,
): void {
  expect(Object.keys(found).sort()).toEqual(Object.keys(expected).sort());
  const errors = Object.keys(expected).map((key) => [key, relativeError(found[key], expected[key])] as const);
  expect(errors.filter(([, error]) => !(error < tolerance))).toEqual([]);
}
