/** @file Tiles of the attention gradient. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { relativeError, runModel } from "../../test/helpers/central-differences.ts";
import { hashed } from "../../test/helpers/host-tensor.ts";
import { attention } from "../graph/functions.ts";
import { toOnnx } from "../graph/onnx.ts";
import { attrsOf, input, toposort } from "../graph/tensor.ts";
import { Engine } from "../runtime/engine.ts";
import { attentionGradients, tileSizes } from "./attention.ts";

let engine: Engine;
beforeAll(() => {
  engine = new Engine({ threads: 1 });
});
afterAll(() => engine.close());

describe("tileSizes", () => {
  test("takes everything at once while that is small", () => {
    expect(tileSizes({ batch: 1, heads: 30, queries: 700, keys: 700 })).toEqual({ heads: 30, queries: 700 });
  });

  test("takes fewer heads before it takes fewer than 256 queries", () => {
    const { heads, queries } = tileSizes({ batch: 1, heads: 30, queries: 17776, keys: 17776 });
    expect([heads, queries]).toEqual([3, 314]);
    expect(tileSizes({ batch: 1, heads: 30, queries: 120_000, keys: 120_000 })).toEqual({
      heads: 1,
      queries: 139,
    });
  });

  test("never takes nothing", () => {
    expect(tileSizes({ batch: 64, heads: 2, queries: 9, keys: 9 }, 1)).toEqual({ heads: 1, queries: 1 });
  });
});

const biases: Readonly<Record<string, readonly number[] | null>> = {
  "no bias": null,
  "a bias for each score": [2, 3, 5, 4],
  "a bias for each key": [2, 1, 1, 4],
  "a bias for each head and key": [3, 1, 4],
  "a bias of two axes": [5, 4],
};

test.each(Object.entries(biases))("tiles give what one piece gives: %s", async (_, biasShape) => {
  const shapes = [[2, 5, 6], [2, 4, 6], [2, 4, 6], ...(biasShape ? [biasShape] : [])];
  const x = shapes.map((shape, i) => input(`x${i}`, shape));
  const y = attention([x[0], x[1], x[2]], 3, { bias: biasShape ? x[3].expand([2, 3, 5, 4]) : undefined });
  const inputs = biasShape ? [...x.slice(0, 3), x[3]] : x;
  const backward = {
    g: input("g", y.shape),
    x: inputs,
    y,
    attrs: attrsOf(y, "Attention"),
    needs: inputs.map(() => true),
  };
  const whole = attentionGradients(backward);
  const tiled = attentionGradients(backward, 2 * 4 * 2); // one head, two queries
  expect(toposort([tiled[0]!]).filter((node) => node.op === "Softmax")).toHaveLength(9);
  const outputs = inputs.flatMap((_, i) => [
    [`whole${i}`, whole[i]!] as const,
    [`tiled${i}`, tiled[i]!] as const,
  ]);
  const feeds = shapes.map((shape, i) => [`x${i}`, hashed(shape, i)] as const);
  const found = await runModel(engine, toOnnx(Object.fromEntries(outputs)), {
    ...Object.fromEntries(feeds),
    g: hashed(y.shape, 9),
  });
  inputs.forEach((each, i) => {
    expect(tiled[i]!.shape).toEqual(each.shape);
    expect(relativeError(found[`tiled${i}`], found[`whole${i}`])).toBeLessThan(1e-6);
  });
});
