/** @file One training step of every model against PyTorch in double precision: the loss and every gradient. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { gradients, unreached } from "../../src/autodiff/grad.ts";
import { toOnnx } from "../../src/graph/onnx.ts";
import { simplify } from "../../src/graph/rewrite.ts";
import { Engine } from "../../src/runtime/engine.ts";
import { runModel } from "../helpers/central-differences.ts";
import { cases, models, recordedTensors, recordedVaeStep, sampled } from "../helpers/training-steps.ts";

/** Milliseconds. The engine takes its time to load some ten thousand nodes of the VAE. */
const LONG = 600_000;

let engine: Engine;
beforeAll(() => {
  engine = new Engine({ threads: 1 });
});
afterAll(() => engine.close(), LONG);

test("every recorded step has a test", () => {
  expect(Object.keys(models).sort()).toEqual(Object.keys(cases).sort());
});

describe.each(Object.entries(models))("a step of %s", (name, { step, weights, symmetric }) => {
  test("sends a gradient to every parameter", () => {
    const { loss, params } = step();
    expect(unreached(loss, params)).toEqual([]);
  });

  test(
    "has PyTorch's loss and gradients",
    async () => {
      const { loss, params, feeds } = step();
      const keys = [...params.keys()];
      const found = gradients(loss, [...params.values()]);
      const graph = { loss, ...Object.fromEntries(keys.map((key, i) => [key, found[i]])) };
      const results = await runModel(engine, toOnnx(simplify(graph)), {
        ...feeds,
        ...(await weights(params)),
      });
      expect(Math.abs(results.loss[0] / cases[name].loss - 1)).toBeLessThan(1e-5);
      const compared = await compare(name, keys, results);
      expect(compared.filter(({ error }) => !(error < 2e-5))).toEqual([]);
      const zero = compared.filter(({ isZero }) => isZero).map(({ key }) => key);
      expect(zero.sort()).toEqual(keys.filter((key) => symmetric?.test(key)).sort());
    },
    LONG,
  );
});

test("the KL term alone reaches every parameter of the encoder and none of the decoder", () => {
  const { kl, params } = recordedVaeStep();
  const decoder = [...params.keys()].filter((key) => key.startsWith("decoder."));
  expect(unreached(kl, params)).toEqual(decoder);
});

/**
 * How far every gradient is from PyTorch's: recorded elements by the tensor's largest one, and the norm of the whole
 * tensor. Where symmetry makes a gradient zero, both sides hold rounding noise, which is measured by the largest
 * element of all gradients.
 */
async function compare(name: string, keys: readonly string[], found: Record<string, number[]>) {
  const read = await recordedTensors(name);
  const summaries = new Map<string, { norm: number; largest: number }>();
  for (const key of keys) {
    const [norm, largest] = await read(`summary/${key}`);
    summaries.set(key, { norm, largest });
  }
  const overall = Math.max(...[...summaries.values()].map(({ largest }) => largest));
  const compared = keys.map(async (key) => {
    const expected = await read(`grad/${key}`);
    const { norm, largest } = summaries.get(key)!;
    const isZero = largest < 1e-12 * overall;
    const values = sampled(found[key]);
    expect(values.length, key).toBe(expected.length);
    const worst = values.reduce((max, v, i) => Math.max(max, Math.abs(v - expected[i])), 0);
    const lengths = Math.abs(lengthOf(found[key]) - norm);
    const error = isZero ? worst / overall : Math.max(worst / largest, lengths / norm);
    return { key, error, isZero };
  });
  return Promise.all(compared);
}

function lengthOf(values: readonly number[]): number {
  return Math.sqrt(values.reduce((sum, v) => sum + v * v, 0));
}
