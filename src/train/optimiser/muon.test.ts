/** @file Muon: directions are nearly orthogonal, matrices go together as they go alone, and borders are left to AdamW. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runModel } from "../../../test/helpers/central-differences.ts";
import { hashInput } from "../../../test/helpers/hash-fill.ts";
import { toOnnx } from "../../graph/onnx.ts";
import type { Shape } from "../../graph/shape.ts";
import { input } from "../../graph/tensor.ts";
import { Engine } from "../../runtime/engine.ts";
import { defaultAdamW, pacesAt } from "./adamw.ts";
import { orthogonalised, takesMuon } from "./muon.ts";
import { updateGraph } from "./update.ts";

let engine: Engine;
beforeAll(() => {
  engine = new Engine({ threads: 1 });
});
afterAll(() => engine.close());

const fed = (shape: Shape, seed: number) => ({ dtype: "f32", shape, data: hashInput(shape, seed) }) as const;

describe("orthogonalised", () => {
  test.each([
    [12, 20],
    [20, 12],
    [9, 9],
    [8, 64],
  ])("brings all singular values of %d x %d near 1", async (rows, columns) => {
    const [y] = orthogonalised([input("x", [rows, columns])]);
    const gram = rows > columns ? y.matmul(y, { transA: true }) : y.matmul(y, { transB: true });
    const found = await runModel(engine, toOnnx({ gram }), { x: fed([rows, columns], 3) });
    for (const value of eigenvalues([...found.gram], Math.min(rows, columns))) {
      expect(value).toBeGreaterThan(0.4);
      expect(value).toBeLessThan(1.5);
    }
  });

  test("keeps the singular vectors: an orthogonal matrix is only scaled", async () => {
    const [y] = orthogonalised([input("x", [2, 2])]);
    const turn = Float32Array.of(0.6, -0.8, 0.8, 0.6);
    const found = await runModel(engine, toOnnx({ y }), { x: { dtype: "f32", shape: [2, 2], data: turn } });
    const scale = found.y[0] / turn[0];
    expect(scale).toBeGreaterThan(0.6);
    for (const [i, value] of turn.entries()) expect(found.y[i]).toBeCloseTo(scale * value, 5);
  });

  test.each([
    [12, 16],
    [8, 64],
  ])("keeps the singular vectors of %d x %d: y xᵀ is symmetric", async (rows, columns) => {
    const x = input("x", [rows, columns]);
    const product = orthogonalised([x])[0].matmul(x, { transB: true });
    const found = await runModel(engine, toOnnx({ product }), { x: fed([rows, columns], 3) });
    const at = (row: number, column: number) => found.product[row * rows + column];
    for (let i = 0; i < rows; i++) for (let j = 0; j < i; j++) expect(at(i, j)).toBeCloseTo(at(j, i), 3);
  });

  test("gives matrices of one size what each would get alone", async () => {
    const sizes: Shape[] = [
      [8, 12],
      [12, 8],
      [8, 12],
      [9, 9],
    ];
    const inputs = sizes.map((shape, i) => input(`x${i}`, shape));
    const outputs = Object.fromEntries([
      ...orthogonalised(inputs).map((y, i) => [`together ${i}`, y]),
      ...inputs.map((x, i) => [`alone ${i}`, orthogonalised([x])[0]]),
    ]);
    const feeds = Object.fromEntries(sizes.map((shape, i) => [`x${i}`, fed(shape, i + 1)]));
    const found = await runModel(engine, toOnnx(outputs), feeds);
    for (const i of sizes.keys()) expect(found[`together ${i}`]).toEqual(found[`alone ${i}`]);
  });
});

test("is for matrices inside a model, not for its borders, vectors and thin matrices", () => {
  expect(takesMuon("transformer_blocks.0.attn1.to_q.weight", [192, 192])).toBe(true);
  expect(takesMuon("decoder.mid_block.resnets.0.conv1.conv.weight", [64, 64, 3, 3, 3])).toBe(true);
  expect(takesMuon("text_encoder.shared.weight", [128, 128])).toBe(false);
  expect(takesMuon("transformer.patch_embed.proj.weight", [192, 16, 2, 2])).toBe(false);
  expect(takesMuon("decoder.conv_out.conv.weight", [3, 16, 3, 3, 3])).toBe(false);
  expect(takesMuon("norm_out.linear.bias", [384])).toBe(false);
  expect(takesMuon("some.weight", [2, 64])).toBe(false);
});

test("moves a matrix by rate · 0.2 · √(longer side) · direction and leaves the rest to AdamW", async () => {
  const shapes = new Map<string, Shape>([
    ["inner.weight", [8, 16]],
    ["inner.bias", [8]],
  ]);
  const settings = { adamW: { ...defaultAdamW, weightDecay: 0.1 }, clip: null, average: false };
  const feeds = Object.fromEntries(
    [...shapes].flatMap(([key, shape], i) =>
      ["weight", "mean", "square", "gradient"].map((role, j) => [
        `${role}/${key}`,
        role === "weight" || role === "gradient"
          ? fed(shape, 10 * i + j + 1)
          : { dtype: "f32" as const, shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)) },
      ]),
    ),
  );
  const rate = 0.01;
  const paces = { ...pacesAt(1, rate, settings.adamW), share: 1 };
  const scalars = Object.fromEntries(
    Object.entries(paces).map(([name, value]) => [
      name,
      { dtype: "f32" as const, shape: [], data: Float32Array.of(value) },
    ]),
  );
  const run = async (muon: boolean) => {
    const model = toOnnx(updateGraph(shapes, { ...settings, muon }));
    const wanted = Object.entries({ ...feeds, ...scalars }).filter(([name]) =>
      model.inputs.some((each) => each.name === name),
    );
    return runModel(engine, model, Object.fromEntries(wanted));
  };
  const [withMuon, without] = [await run(true), await run(false)];
  expect(withMuon["weight/inner.bias"]).toEqual(without["weight/inner.bias"]);
  const [direction] = orthogonalised([input("g", [8, 16])]);
  const { y } = await runModel(engine, toOnnx({ y: direction }), { g: feeds["gradient/inner.weight"] });
  const weight = feeds["weight/inner.weight"].data;
  for (const [i, value] of y.entries())
    expect(withMuon["weight/inner.weight"][i]).toBeCloseTo(
      weight[i] * (1 - rate * 0.1) - rate * 0.2 * 4 * value,
      5,
    );
  expect(withMuon["square/inner.weight"].every((value) => value === 0)).toBe(true);
});

/** Of a symmetric matrix, by Jacobi's rotations. */
function eigenvalues(matrix: readonly number[], size: number): number[] {
  const a = Array.from({ length: size }, (_, i) => matrix.slice(i * size, (i + 1) * size));
  for (let sweep = 0; sweep < 30; sweep++)
    for (let p = 0; p < size; p++)
      for (let q = p + 1; q < size; q++) {
        const angle = 0.5 * Math.atan2(2 * a[p][q], a[q][q] - a[p][p]);
        const [c, s] = [Math.cos(angle), Math.sin(angle)];
        for (let k = 0; k < size; k++)
          [a[k][p], a[k][q]] = [c * a[k][p] - s * a[k][q], s * a[k][p] + c * a[k][q]];
        for (let k = 0; k < size; k++)
          [a[p][k], a[q][k]] = [c * a[p][k] - s * a[q][k], s * a[p][k] + c * a[q][k]];
      }
  return a.map((row, i) => row[i]);
}
