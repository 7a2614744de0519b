/** @file Three steps of AdamW on the transformer against PyTorch in double precision. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { gradients } from "../../src/autodiff/grad.ts";
import { toOnnx } from "../../src/graph/onnx.ts";
import { Engine } from "../../src/runtime/engine.ts";
import type { HostTensor } from "../../src/runtime/protocol.ts";
import { pacesAt } from "../../src/train/optimiser/adamw.ts";
import { updateGraph } from "../../src/train/optimiser/update.ts";
import { type Feeds, runModel } from "../helpers/central-differences.ts";
import {
  cases,
  f32,
  models,
  type Optimiser,
  recordedTensors,
  type Step,
  sampled,
} from "../helpers/training-steps.ts";

let engine: Engine;
beforeAll(() => {
  engine = new Engine({ threads: 1 });
});
afterAll(() => engine.close());

test("three steps of AdamW leave PyTorch's losses, norms and weights", async () => {
  const { step, weights } = models["transformer-rope"];
  const optimiser = cases["transformer-rope"].optimiser!;
  const { loss, params, feeds } = step();
  const start = await weights(params);
  const trained = await optimised(start, { loss, params, feeds }, optimiser, 3);
  for (const [i, { loss, norm }] of trained.entries()) {
    expect(Math.abs(loss / optimiser.losses[i] - 1)).toBeLessThan(1e-5);
    expect(Math.abs(norm / optimiser.gradientNorms[i] - 1)).toBeLessThan(1e-5);
  }
  for (const after of [1, 3]) {
    const errors = await weightErrors(after, trained[after - 1].weights, start, optimiser.lr);
    expect(errors.filter(({ clear }) => !(clear < 5e-3))).toEqual([]);
    expect(errors.filter(({ vague }) => !(vague < 0.1))).toEqual([]);
    expect(errors.filter(({ mean }) => !(mean < 1e-3))).toEqual([]);
  }
});

/** What a step finds and leaves. */
type Trained = { readonly loss: number; readonly norm: number; readonly weights: Feeds };

/** Runs some steps on one batch. */
async function optimised(
  start: Feeds,
  { loss, params, feeds }: Step,
  { lr, betas, eps, weightDecay, clipNorm }: Optimiser,
  steps: number,
): Promise<Trained[]> {
  const settings = { beta1: betas[0], beta2: betas[1], eps, weightDecay };
  const keys = [...params.keys()];
  const found = gradients(loss, [...params.values()]);
  const shapes = new Map([...params].map(([key, { shape }]) => [key, shape]));
  const backward = toOnnx({
    loss,
    ...Object.fromEntries(keys.map((key, i) => [`gradient/${key}`, found[i]])),
  });
  const update = toOnnx(updateGraph(shapes, { adamW: settings, clip: clipNorm, average: false }));
  const named = (role: string, of: (key: string) => HostTensor): Feeds =>
    Object.fromEntries(keys.map((key) => [`${role}/${key}`, of(key)]));
  const zeros = (key: string) => f32(shapes.get(key)!, new Float32Array(start[key].data.length));
  let state: Feeds = {
    ...named("weight", (key) => start[key]),
    ...named("mean", zeros),
    ...named("square", zeros),
  };
  const trained: Trained[] = [];
  for (let step = 1; step <= steps; step++) {
    const weights = Object.fromEntries(keys.map((key) => [key, state[`weight/${key}`]]));
    const { loss: before, ...sums } = await runModel(engine, backward, { ...feeds, ...weights });
    const paces = { ...pacesAt(step, lr, settings), share: 1 };
    const scalars = Object.entries(paces).map(([name, value]) => [name, f32([], Float32Array.of(value))]);
    const arrived = named("gradient", (key) =>
      f32(shapes.get(key)!, Float32Array.from(sums[`gradient/${key}`])),
    );
    const { norm, ...after } = await runModel(engine, update, {
      ...state,
      ...arrived,
      ...Object.fromEntries(scalars),
    });
    const shapeOf = (name: string) => shapes.get(name.slice(name.indexOf("/") + 1))!;
    state = Object.fromEntries(
      Object.entries(after).map(([name, values]) => [name, f32(shapeOf(name), Float32Array.from(values))]),
    );
    const left = Object.fromEntries(keys.map((key) => [key, state[`weight/${key}`]]));
    trained.push({ loss: before[0], norm: norm[0], weights: left });
  }
  return trained;
}

/**
 * How far weights are from PyTorch's after a step, by the learning rate: recorded elements whose gradient is well above
 * rounding noise, the others, which AdamW divides by their own smallness, and the mean over all elements.
 */
async function weightErrors(step: number, weights: Feeds, start: Feeds, lr: number) {
  const read = await recordedTensors("transformer-rope");
  const errors = Object.entries(weights).map(async ([key, { data }]) => {
    const [expected, grads] = [await read(`step${step}/${key}`), await read(`grad/${key}`)];
    const values = Array.from(data as Float32Array);
    const [[, largest], [sum]] = [await read(`summary/${key}`), await read(`sum${step}/${key}`)];
    const off = sampled(values).map((v, i) => Math.abs(v - expected[i]) / lr);
    expect(off.length, key).toBe(expected.length);
    const isClear = (_: unknown, i: number) => Math.abs(grads[i]) > 1e-4 * largest;
    const before = start[key].data as Float32Array;
    const change = values.reduce((total, v, i) => total + (v - before[i]), 0);
    return {
      key,
      clear: Math.max(...off.filter(isClear)),
      vague: Math.max(0, ...off.filter((error, i) => !isClear(error, i))),
      mean: Math.abs(change - sum) / values.length / lr,
    };
  });
  return Promise.all(errors);
}
