/** @file LPIPS against PyTorch, with the same invented weights on both sides. */
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { runModel } from "../../../test/helpers/central-differences.ts";
import { temporaryFolder } from "../../../test/helpers/command-line.ts";
import { hashInput, hashUniform } from "../../../test/helpers/hash-fill.ts";
import { gradients } from "../../autodiff/grad.ts";
import { toOnnx } from "../../graph/onnx.ts";
import { sizeOf } from "../../graph/shape.ts";
import { input } from "../../graph/tensor.ts";
import { Scope } from "../../nn/scope.ts";
import { Engine } from "../../runtime/engine.ts";
import type { HostTensor } from "../../runtime/protocol.ts";
import { writeSafetensors } from "../../weights/write.ts";
import { lpips, lpipsParams } from "./lpips.ts";
import { readLpips } from "./lpips-file.ts";

let engine: Engine;
beforeAll(() => {
  engine = new Engine({ threads: 1 });
});
afterAll(() => engine.close());

test("gives PyTorch's distance and gradient for VGG-16 on pictures with an odd feature map", async () => {
  const shape = [1, 3, 18, 16];
  const p = new Scope();
  const [x, y] = [input("x", shape), input("y", shape)];
  const distance = lpips(p)(x, y);
  expect([...p.declared].map(([key, { shape }]) => [key, shape])).toEqual(
    expect.arrayContaining([...lpipsParams()]),
  );
  expect(p.declared.size).toBe(lpipsParams().size);
  const model = toOnnx({ distance, gradient: gradients(distance, [x])[0] });
  const found = await runModel(engine, model, {
    ...inventedWeights(),
    x: { dtype: "f32", shape, data: hashInput(shape, 200, 2) },
    y: { dtype: "f32", shape, data: hashInput(shape, 201, 2) },
  });
  expect(found.distance[0]).toBeCloseTo(0.7979872780243179, 5);
  const every97th = found.gradient.filter((_, i) => i % 97 === 0);
  expect(every97th).toBeCloseToArray(
    [
      8.6601582e-5, 0.001551112119, 0.0005624928, -0.000568815382, 0.003152229219, -0.003108991958,
      0.000299977041, 0.000296053118, -0.002345289687,
    ],
    { atol: 1e-6, rtol: 1e-3 },
  );
});

test("refuses pictures that five feature maps do not fit in", () => {
  const x = input("x", [1, 3, 8, 64]);
  expect(() => lpips(new Scope())(x, x)).toThrow(/at least 16 pixels a side, got \[1, 3, 8, 64\]/);
});

test("names the first key that a weights file lacks", async () => {
  const file = join(temporaryFolder(), "vgg16.safetensors");
  const data = new Uint8Array(64 * 3 * 9 * 4);
  await writeSafetensors(file, { "features.0.weight": { dtype: "F32", shape: [64, 3, 3, 3], data } });
  await expect(readLpips([file])).rejects.toThrow(/no tensor features\.0\.bias/);
});

/** By position in the order of all keys: kernels with He's variance, biases around 0, `lin` rows in 0 to 1. */
function inventedWeights(): Record<string, HostTensor> {
  const keys = [...lpipsParams()].sort(([a], [b]) => (a < b ? -1 : 1));
  const entries = keys.map(([key, shape], index) => {
    const scale = shape.length === 1 ? 0.2 : Math.sqrt(24 / sizeOf(shape.slice(1)));
    const data = key.startsWith("lin")
      ? Float32Array.from(hashUniform(index, sizeOf(shape)))
      : hashInput(shape, index, scale);
    return [key, { dtype: "f32", shape, data } as const] as const;
  });
  return Object.fromEntries(entries);
}
