/** @file Gradients of a graph by our rules and by central differences, both through the real engine. */
import { gradients } from "../../src/autodiff/grad.ts";
import { dtypes } from "../../src/graph/dtype.ts";
import { type OnnxModel, toOnnx } from "../../src/graph/onnx.ts";
import { sizeOf } from "../../src/graph/shape.ts";
import { input, type Tensor } from "../../src/graph/tensor.ts";
import type { Engine } from "../../src/runtime/engine.ts";
import type { HostTensor } from "../../src/runtime/protocol.ts";
import { hashed, numbers } from "./host-tensor.ts";

export type Build = (...x: Tensor[]) => Tensor;

/** Inputs of a graph under their names, `x0`, `x1`, ... unless the test names them. */
export type Feeds = Readonly<Record<string, HostTensor>>;

/** Key of the weights that turn a result into a number, in the hash that also makes inputs. */
export const SEED_KEY = 100;

/** Half the distance between the two evaluations of a difference. */
const STEP = 1e-2;

export function named(feeds: readonly HostTensor[]): Feeds {
  return Object.fromEntries(feeds.map((feed, i) => [`x${i}`, feed]));
}

/** Runs a model once and brings every output to the host. */
export async function runModel(
  engine: Engine,
  model: OnnxModel,
  feeds: Feeds,
): Promise<Record<string, number[]>> {
  const session = await engine.load("gradients under test", model);
  const wanted = new Set(model.inputs.map(({ name }) => name));
  const outputs = await engine.run(session, pick(feeds, wanted));
  const results: Record<string, number[]> = {};
  for (const [name, output] of Object.entries(outputs))
    results[name] = numbers(await engine.download(output));
  await engine.unload(session);
  return results;
}

/** Gradients of Σ seed · y for every floating-point feed, by the rules; the seed is hashed under `SEED_KEY`. */
export async function byRules(
  engine: Engine,
  build: Build,
  feeds: readonly HostTensor[],
): Promise<Record<string, number[]>> {
  const inputs = feeds.map(({ shape, dtype }, i) => input(`x${i}`, shape, dtype));
  const y = build(...inputs);
  const wrt = inputs.filter(({ dtype }) => dtypes[dtype].float);
  const found = gradients(y, wrt, input("seed", y.shape, y.dtype));
  const outputs = Object.fromEntries(found.map((g, i) => [`x${inputs.indexOf(wrt[i])}`, g]));
  return runModel(engine, toOnnx(outputs), { ...named(feeds), seed: hashed(y.shape, SEED_KEY) });
}

/** The same by (f(x + h) - f(x - h)) / 2h for one element at a time, summed in double precision. */
export async function byDifferences(
  engine: Engine,
  build: Build,
  feeds: readonly HostTensor[],
): Promise<Record<string, number[]>> {
  const y = build(...feeds.map(({ shape, dtype }, i) => input(`x${i}`, shape, dtype)));
  const model = toOnnx({ y });
  const session = await engine.load("differences under test", model);
  const wanted = new Set(model.inputs.map(({ name }) => name));
  const seed = numbers(hashed(y.shape, SEED_KEY));
  const evaluate = async (name: string, feed: HostTensor, at: number, by: number) => {
    const data = Float32Array.from(feed.data as Float32Array);
    data[at] += by;
    const outputs = await engine.run(session, pick({ ...named(feeds), [name]: { ...feed, data } }, wanted));
    return { x: data[at], y: numbers(await engine.download(outputs.y)) };
  };
  const result: Record<string, number[]> = {};
  for (const [name, feed] of Object.entries(named(feeds))) {
    if (feed.dtype !== "f32") continue;
    result[name] = [];
    for (let at = 0; at < sizeOf(feed.shape); at++) {
      const [up, down] = [await evaluate(name, feed, at, STEP), await evaluate(name, feed, at, -STEP)];
      const change = seed.reduce((sum, weight, i) => sum + weight * (up.y[i] - down.y[i]), 0);
      result[name].push(change / (up.x - down.x));
    }
  }
  await engine.unload(session);
  return result;
}

/** The largest difference of two gradients, relative to the largest entry. */
export function relativeError(actual: readonly number[], expected: readonly number[]): number {
  if (actual.length !== expected.length) return Number.POSITIVE_INFINITY;
  const largest = (values: readonly number[]) => values.reduce((max, v) => Math.max(max, Math.abs(v)), 0);
  const worst = largest(actual.map((v, i) => v - expected[i]));
  return worst === 0 ? 0 : worst / largest(expected);
}

function pick(feeds: Feeds, names: ReadonlySet<string>): Feeds {
  return Object.fromEntries(Object.entries(feeds).filter(([name]) => names.has(name)));
}
