/** @file Tests that engines beside each other train as one does, and of what an engine keeps compiled. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { f32 } from "../../test/helpers/host-tensor.ts";
import { loadLabels } from "../../test/helpers/load-labels.ts";
import { SessionError } from "../errors.ts";
import { sqrt } from "../graph/functions.ts";
import { emit, input, type Tensor } from "../graph/tensor.ts";
import { Engine } from "../runtime/engine.ts";
import { type Engines, Learner, type LossGraph } from "./learner.ts";
import { defaultAdamW } from "./optimiser/adamw.ts";

let first: Engine;
let second: Engine;
beforeAll(() => {
  first = new Engine({ threads: 1 });
  second = new Engine({ threads: 1 });
});
afterAll(async () => {
  await first.close();
  await second.close();
});

const settings = { adamW: defaultAdamW, clip: 1, average: true };
const [x, w, b, c] = [input("x", [2, 3]), input("w", [2, 3]), input("b", [3]), input("c", [2])];
const distance = w.mul(x).add(b);
const wide: LossGraph = {
  name: "all but c",
  loss: distance.mul(distance).mean([0, 1]),
  report: { sum: x.sum([0, 1]) },
  params: new Map(Object.entries({ w, b, c })),
};
const narrow: LossGraph = {
  ...wide,
  name: "c alone",
  loss: c
    .mul(c)
    .mean([0])
    .add(x.mean([0, 1])),
};
const weights = new Map([
  ["w", { shape: [2, 3], data: Float32Array.of(1, -2, 3, -4, 5, -6) }],
  ["b", { shape: [3], data: Float32Array.of(0.5, 0.25, -1) }],
  ["c", { shape: [2], data: Float32Array.of(2, -7) }],
]);
const batch = (graph: LossGraph, start: number) => ({
  graph,
  feeds: {
    x: f32(
      [2, 3],
      [0, 1, 2, 3, 4, 5].map((i) => start + i / 4),
    ),
  },
});

async function trained(engines: Engines, batches: Parameters<Learner["step"]>[2]) {
  const learner = await Learner.start(engines, weights, settings);
  const reports = [await learner.step(1, 0.1, batches), await learner.step(2, 0.1, batches)];
  const tensors = await learner.tensors();
  const kept = [...learner.weights().keys()];
  await learner.close();
  return { reports, tensors, kept };
}

describe("two engines", () => {
  test.each([
    ["three batches", [batch(wide, 1), batch(wide, -2), batch(wide, 3)]],
    ["one batch", [batch(wide, 1)]],
    ["batches that reach different weights", [batch(wide, 1), batch(narrow, 2)]],
  ])("learn the same from %s as one engine", async (_, batches) => {
    const one = await trained([first], batches);
    const two = await trained([first, second], batches);
    expect([...two.tensors.keys()]).toEqual([...one.tensors.keys()]);
    for (const [name, { data }] of one.tensors)
      expect(two.tensors.get(name)!.data).toBeCloseToArray(data, { atol: 1e-6 });
    expect(two.kept).toEqual(one.kept);
    expect(two.reports.map(({ gradientNorm }) => gradientNorm)).toBeCloseToArray(
      one.reports.map(({ gradientNorm }) => gradientNorm),
    );
  });

  test("report in the order of the batches", async () => {
    const { reports } = await trained([first, second], [batch(wide, 1), batch(wide, -2), batch(wide, 3)]);
    const sums = reports[0].reports.map(({ sum }) => sum.data[0]);
    expect(sums).toEqual([9.75, -8.25, 21.75]);
  });
});

test("losses by the average are those of a learner that has it as its weights, and leave the state as it was", async () => {
  const batches = [batch(wide, 1), batch(wide, -2)];
  const learner = await Learner.start([first, second], weights, settings);
  await learner.step(1, 0.1, batches, { averageDecay: 0.6 });
  const held = async function* () {
    yield batch(wide, 2);
    yield batch(narrow, 3);
  };
  const found = await learner.evaluateAverage(held());
  const averaged = await Learner.start([first], await learner.read("average"), settings);
  const expected = [await averaged.evaluate(batch(wide, 2)), await averaged.evaluate(batch(narrow, 3))];
  expect(found).toEqual(expected);
  expect(found[0].loss).not.toEqual((await learner.evaluate(batch(wide, 2))).loss);
  const { loss } = await learner.step(2, 0.1, batches);
  expect(Number.isFinite(loss)).toBe(true);
  await averaged.close();
  await learner.close();
});

test("a learner clips the mean of the gradients to the limit", async () => {
  const sgd = { adamW: { ...defaultAdamW, beta1: 0 }, clip: 0.5, average: false };
  const learner = await Learner.start([first, second], weights, sgd);
  const { gradientNorm } = await learner.step(1, 0.1, [batch(narrow, 1), batch(narrow, 2)]);
  expect(gradientNorm).toBeCloseTo(Math.hypot(2, 7), 5);
  const mean = (await learner.tensors(["mean"])).get("mean/c")!.data;
  expect(mean).toBeCloseToArray(
    [2, -7].map((v) => (0.5 * v) / Math.hypot(2, 7)),
    { atol: 1e-5 },
  );
  await learner.close();
});

test.each([1, 2])(
  "a gradient that is not finite is named, and leaves the weights as they were: %d engines",
  async (count) => {
    const engines: Engines = count === 1 ? [first] : [first, second];
    const learner = await Learner.start(engines, weights, settings);
    const before = await learner.tensors();
    const of = (name: string, loss: Tensor): LossGraph => ({ ...wide, name, loss, report: {} });
    const root = of("root", sqrt(b.sub(b)).mul(distance).mean([0, 1]));
    await expect(learner.step(4, 0.1, [batch(wide, 1), batch(root, 1)])).rejects.toThrow(
      new SessionError("the gradient of step 4 is not finite: b has a NaN or an infinity"),
    );
    const steep = { graph: of("steep", c.mul(1e25).mean([0])), feeds: {} };
    await expect(learner.step(4, 0.1, [steep, steep])).rejects.toThrow(
      new SessionError("the gradient of step 4 is not finite: the sum of its squares is Infinity"),
    );
    const endless = { graph: of("endless", c.mul(3e38).mul(10).sum([0])), feeds: {} };
    await expect(learner.step(4, 0.1, [endless])).rejects.toThrow(
      /endless .* not finite \(output loss holds/,
    );
    expect(await learner.tensors()).toEqual(before);
    await learner.close();
  },
);

test("a learner refuses a loss that reaches nothing it trains", async () => {
  const learner = await Learner.start([first], new Map([["c", weights.get("c")!]]), settings);
  await expect(learner.step(1, 0.1, [batch(wide, 1)])).rejects.toThrow(
    new SessionError("all but c reaches none of the 1 trained parameters"),
  );
  await learner.close();
});

/** (w x)² summed over so many numbers. */
function lossOf(count: number): LossGraph {
  const weight = emit("Param", [], { key: "w", shape: [1] });
  const product = input("x", [count]).mul(weight);
  return {
    name: `loss of ${count}`,
    loss: product.mul(product).sum([0]),
    report: {},
    params: new Map([["w", weight]]),
  };
}

test("keeps a bounded number of losses compiled, and compiles one again that comes back", async () => {
  const engine = new Engine({ threads: 1 });
  const labels = loadLabels(engine);
  let unloaded = 0;
  const unload = engine.unload.bind(engine);
  engine.unload = (session) => {
    unloaded++;
    return unload(session);
  };
  const weights = new Map([["w", { shape: [1], data: Float32Array.of(2) }]]);
  const learner = await Learner.start([engine], weights, { adamW: defaultAdamW, clip: null, average: false });
  const graphs = Array.from({ length: 34 }, (_, i) => lossOf(i + 1));
  const batchOf = (graph: LossGraph, count: number) => ({
    graph,
    feeds: { x: { dtype: "f32" as const, shape: [count], data: new Float32Array(count).fill(1) } },
  });
  const losses: number[] = [];
  for (const [i, graph] of graphs.entries())
    losses.push((await learner.step(i + 1, 0, [batchOf(graph, i + 1)])).loss);
  expect(losses).toEqual(graphs.map((_, i) => 4 * (i + 1)));
  expect(unloaded).toBe(2);
  const again = await learner.step(35, 0, [batchOf(graphs[0], 1), batchOf(graphs[33], 34)]);
  expect(again.loss).toBe((4 + 4 * 34) / 2);
  expect(labels.filter((label) => label === "loss of 1")).toHaveLength(2);
  expect(labels.filter((label) => label === "loss of 34")).toHaveLength(1);
  expect(labels.at(-1)).toBe("sum of gradients");
  await learner.close();
  await engine.close();
});
