/** @file Tests that a loss cut into segments has the loss, reports, gradients and updates of the whole. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { hashCheckpoint } from "../../../test/helpers/hash-checkpoint.ts";
import { hashInput, hashWeights } from "../../../test/helpers/hash-fill.ts";
import { loadLabels } from "../../../test/helpers/load-labels.ts";
import { toyTransformer } from "../../../test/helpers/toy-transformer.ts";
import { gradients } from "../../autodiff/grad.ts";
import { noiseSchedule, parseSchedulerConfig } from "../../diffusion/schedule.ts";
import { toOnnx } from "../../graph/onnx.ts";
import { simplify } from "../../graph/rewrite.ts";
import { parseTransformerConfig } from "../../models/transformer/config.ts";
import { Engine, type Value } from "../../runtime/engine.ts";
import { mapWeights } from "../../runtime/mapped-weights.ts";
import type { ResidentRef } from "../../runtime/protocol.ts";
import { textToVideoFeeds, textToVideoGraph } from "../tasks/text-to-video.ts";
import { segmentedGraph } from "./segmented-graph.ts";
import { SegmentedLoss } from "./segmented-loss.ts";
import { segmentedTextToVideo } from "./text-to-video.ts";

const config = parseTransformerConfig(
  {
    ...toyTransformer,
    num_layers: 3,
    use_rotary_positional_embeddings: true,
  },
  "config.json",
);
const whole = textToVideoGraph(config, { batch: 2, frames: 3, height: 6, width: 8, textLength: 5 }, null);
const chain = segmentedTextToVideo(whole, null);
const shapes = new Map([...whole.graph.params].map(([key, { shape }]) => [key, shape]));
const values = hashWeights(Object.fromEntries(shapes));
const weights = new Map([...shapes].map(([key, shape]) => [key, { shape, data: values.get(key)! }]));
const hosted = new Map<string, Value>(
  [...weights].map(([key, tensor]) => [key, { dtype: "f32", ...tensor }]),
);
const feeds = textToVideoFeeds(
  whole,
  noiseSchedule(parseSchedulerConfig({ _class_name: "CogVideoXDDIMScheduler" }, "scheduler_config.json")),
  {
    latents: [hashInput([3, 4, 6, 8], 1), hashInput([3, 4, 6, 8], 2)],
    text: [hashInput([5, 12], 3), hashInput([5, 12], 4)],
    timesteps: [999, 400],
    weights: Float32Array.of(0.5, 1.75),
    noise: { seed: 1, step: 1, part: 0 },
  },
);

let engine: Engine;
beforeAll(() => {
  engine = new Engine({ threads: 1 });
});
afterAll(() => engine.close());

test("has the keys of the whole loss", () => {
  const cut = new Map([...chain.params].map(([key, { shape }]) => [key, shape]));
  expect(new Map([...cut].sort())).toEqual(new Map([...shapes].sort()));
});

test("gives the loss, the reports and all gradients of the whole", async () => {
  const loss = new SegmentedLoss(engine, chain, { isTrained: () => true });
  const { gradients, report } = await loss.differentiate({ feeds, weights: hosted });
  const expected = await gradientsOfWhole([...shapes.keys()]);
  expect(report.loss.data[0]).toBeCloseTo(expected.loss[0], 6);
  const [noisy, clean] = expected.perSample;
  expect(report.loss.data[0]).toBeCloseTo((0.5 * noisy + 1.75 * clean) / 2, 6);
  expect([...report.perSample.data]).toBeCloseToArray([...expected.perSample], { atol: 1e-6, rtol: 1e-5 });
  expect([...gradients.keys()].sort()).toEqual([...shapes.keys()].sort());
  expect(await largestError(gradients, expected)).toBeLessThan(1e-5);
  expect(await loss.evaluate({ feeds, weights: hosted })).toEqual(report);
  await loss.close();
});

test("compiles one block for all of them", async () => {
  const spied = new Engine({ threads: 1 });
  const labels = loadLabels(spied);
  const loss = new SegmentedLoss(spied, chain, { isTrained: () => true });
  await loss.differentiate({ feeds, weights: hosted });
  await loss.differentiate({ feeds, weights: hosted });
  expect(labels.map((label) => label.split(", ").at(-1))).toEqual([
    "embed forward",
    "block forward",
    "head backward",
    "block backward",
    "embed backward",
  ]);
  await spied.close();
});

test("gives gradients of some weights only, with the others mapped from a file", async () => {
  const set = await hashCheckpoint(shapes);
  const { folder, storage } = mapWeights(set, shapes);
  const isTrained = (key: string) => /\.1\.attn1\.to_(q|out\.0)\./.test(key);
  const frozen = { folder, storage: (key: string) => (isTrained(key) ? undefined : storage(key)) };
  const loss = new SegmentedLoss(engine, segmentedTextToVideo(whole, null, frozen), { isTrained });
  const trained = new Map([...hosted].filter(([key]) => isTrained(key)));
  const { gradients } = await loss.differentiate({ feeds, weights: trained });
  const expected = await gradientsOfWhole([...trained.keys()]);
  expect([...gradients.keys()].sort()).toEqual([...trained.keys()].sort());
  expect(await largestError(gradients, expected)).toBeLessThan(1e-5);
  await loss.close();
});

test("leaves nothing with the engine when it is stopped while gradients are collected", async () => {
  const spied = new Engine({ threads: 1 });
  const stop = new AbortController();
  const given = new Set<number>();
  const [run, free] = [spied.run.bind(spied), spied.free.bind(spied)];
  spied.run = async (session, values, options = {}) => {
    const outputs = await run(session, values, options);
    for (const { id } of options.consume ?? []) given.delete(id);
    for (const { id } of Object.values(outputs)) given.add(id);
    if (session.label.endsWith("head backward")) stop.abort();
    return outputs;
  };
  const left = (...refs: readonly ResidentRef[]) => {
    for (const { id } of refs) given.delete(id);
  };
  spied.free = (...refs) => {
    left(...refs);
    return free(...refs);
  };
  const download = spied.download.bind(spied);
  spied.download = (ref) => {
    left(ref);
    return download(ref);
  };
  const loss = new SegmentedLoss(spied, chain, { isTrained: () => true });
  const running = loss.differentiate({ feeds, weights: hosted }, { signal: stop.signal });
  await expect(running).rejects.toThrow(/stopped before .* block backward/);
  expect([...given]).toEqual([]);
  await loss.close();
  await spied.close();
});

test("stops for a signal until gradients have been handed over, and then goes on to the first link", async () => {
  const loss = new SegmentedLoss(engine, chain, { isTrained: () => true });
  const stop = new AbortController();
  const taken: string[] = [];
  const take = async (gradients: ReadonlyMap<string, ResidentRef>) => {
    taken.push(...gradients.keys());
    await engine.free(...gradients.values());
    stop.abort();
  };
  const batch = { feeds, weights: hosted };
  const report = await loss.stream(batch, take, { signal: stop.signal });
  expect(report).toEqual(await loss.evaluate(batch));
  expect(taken.sort()).toEqual([...shapes.keys()].sort());
  taken.length = 0;
  await expect(loss.stream(batch, take, { signal: stop.signal })).rejects.toThrow(/stopped before .* embed/);
  expect(taken).toEqual([]);
  await loss.close();
});

test("says what a chain lacks", () => {
  const [first, second] = chain.links;
  expect(() => segmentedGraph("two", [first, second])).toThrow(/last segment of two must give "loss"/);
  expect(() => segmentedGraph("twice", [first, ...chain.links])).toThrow(/patch_embed.* in two segments/);
});

async function gradientsOfWhole(keys: readonly string[]): Promise<Record<string, Float32Array>> {
  const { loss, report, params } = whole.graph;
  const found = gradients(
    loss,
    keys.map((key) => params.get(key)!),
  );
  const named = Object.fromEntries(keys.map((key, i) => [key, found[i]]));
  const session = await engine.load("whole", toOnnx(simplify({ loss, ...report, ...named })));
  const outputs = await engine.run(session, { ...feeds, ...Object.fromEntries(hosted) });
  await engine.unload(session);
  const entries = Object.entries(outputs).map(
    async ([name, ref]) => [name, (await engine.download(ref)).data as Float32Array] as const,
  );
  return Object.fromEntries(await Promise.all(entries));
}

/** The largest error of any gradient, relative to its largest value or to a hundredth of all gradients' largest. */
async function largestError(
  found: ReadonlyMap<string, ResidentRef>,
  expected: Readonly<Record<string, Float32Array>>,
): Promise<number> {
  const largest = (x: Iterable<number>) => Array.from(x, Math.abs).reduce((a, b) => Math.max(a, b), 0);
  const overall = Math.max(...[...found.keys()].map((key) => largest(expected[key])));
  let error = 0;
  for (const [key, ref] of found) {
    const { data } = await engine.download(ref);
    const off = largest(Array.from(data as Float32Array, (value, i) => value - expected[key][i]));
    error = Math.max(error, off / Math.max(largest(expected[key]), overall / 100));
  }
  return error;
}
