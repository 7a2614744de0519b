/** @file Layers: what they declare and what they compute. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { f32, i32, numbers } from "../../test/helpers/host-tensor.ts";
import { toOnnx } from "../graph/onnx.ts";
import { input, type Tensor } from "../graph/tensor.ts";
import { Engine } from "../runtime/engine.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import { embedding, layerNorm, linear, rmsNorm } from "./layers.ts";
import { Scope } from "./scope.ts";

let engine: Engine;
beforeAll(() => {
  engine = new Engine({ threads: 1 });
});
afterAll(() => engine.close());

/** Parameters fed by key, as a graph without mapped weights wants them. */
async function run(
  build: (p: Scope, x: Tensor) => Tensor,
  x: HostTensor,
  params: Record<string, HostTensor>,
): Promise<HostTensor> {
  const p = new Scope("m");
  const y = build(p, input("x", x.shape, x.dtype));
  expect([...p.declared.keys()]).toEqual(Object.keys(params));
  const session = await engine.load("layer", toOnnx({ y }));
  const { y: result } = await engine.run(session, { x, ...params });
  return engine.download(result);
}

const row = f32([1, 2], [3, 4]);

describe("linear", () => {
  const weight = f32([3, 2], [1, 0, 0, 1, 1, 1]);

  test("declares weight [out, in] and bias [out]", async () => {
    const bias = f32([3], [10, 20, 30]);
    const y = await run((p, x) => linear(p, x, 3), row, { "m.weight": weight, "m.bias": bias });
    expect(numbers(y)).toEqual([13, 24, 37]);
  });

  test("does without a bias when told to", async () => {
    const y = await run((p, x) => linear(p, x, 3, { bias: false }), row, { "m.weight": weight });
    expect(numbers(y)).toEqual([3, 4, 7]);
  });
});

test("layerNorm centres, scales and shifts the last axis", async () => {
  const params = { "m.weight": f32([2], [2, 3]), "m.bias": f32([2], [1, 1]) };
  const y = await run((p, x) => layerNorm(p, x, 1e-12), row, params);
  expect(y.data).toBeCloseToArray([-1, 4], { atol: 1e-5 });
});

test("rmsNorm divides by the root of the mean square and does not centre", async () => {
  const y = await run((p, x) => rmsNorm(p, x, 0), row, { "m.weight": f32([2], [1, 10]) });
  const norm = Math.sqrt((9 + 16) / 2);
  expect(y.data).toBeCloseToArray([3 / norm, 40 / norm], { atol: 1e-5 });
});

test("embedding picks rows of its table", async () => {
  const table = f32([3, 2], [0, 1, 10, 11, 20, 21]);
  const y = await run((p, ids) => embedding(p, ids, 3, 2), i32([1, 2], [2, 0]), { "m.weight": table });
  expect(y.shape).toEqual([1, 2, 2]);
  expect(numbers(y)).toEqual([20, 21, 0, 1]);
});
