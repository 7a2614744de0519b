/** @file Tests that updates link by link end where updates of collected gradients do, with one link's gradients alive. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { hashInput, hashWeights } from "../../test/helpers/hash-fill.ts";
import { f32 } from "../../test/helpers/host-tensor.ts";
import { loadLabels } from "../../test/helpers/load-labels.ts";
import { toyTransformer } from "../../test/helpers/toy-transformer.ts";
import { noiseSchedule, parseSchedulerConfig } from "../diffusion/schedule.ts";
import { CancelledError } from "../errors.ts";
import { sqrt } from "../graph/functions.ts";
import { traceSegment } from "../graph/segment.ts";
import { emit, input, type Tensor } from "../graph/tensor.ts";
import { parseTransformerConfig } from "../models/transformer/config.ts";
import { Engine, type RunOptions, type Session, type Value } from "../runtime/engine.ts";
import { goesByLink, Learner, type LearnerSettings, type MicroBatch, type Weights } from "./learner.ts";
import { defaultAdamW } from "./optimiser/adamw.ts";
import { segmentedGraph } from "./recompute/segmented-graph.ts";
import { segmentedTextToVideo } from "./recompute/text-to-video.ts";
import { textToVideoFeeds, textToVideoGraph } from "./tasks/text-to-video.ts";

/** Never reached, so that all gradients are collected and none is changed. */
const FAR = 1e9;
const settings: LearnerSettings = { adamW: defaultAdamW, clip: null, average: true };

let engine: Engine;
beforeAll(() => {
  engine = new Engine({ threads: 1 });
});
afterAll(() => engine.close());

test("needs a loss in links, one engine, one micro-batch, and nothing that all gradients decide", () => {
  const kind = { clip: null, engines: 1, microBatches: 1, isCut: true };
  expect(goesByLink(kind)).toBe(true);
  for (const other of [{ clip: 1 }, { engines: 2 }, { microBatches: 2 }, { isCut: false }])
    expect(goesByLink({ ...kind, ...other })).toBe(false);
});

describe("a transformer of two blocks", () => {
  const { batch, weights } = transformerBatch();

  test.each<[string, Partial<LearnerSettings>]>([
    ["AdamW", {}],
    ["Muon, without an average", { muon: true, average: false }],
    ["weights rounded to bfloat16", { storage: "bf16" }],
  ])("has the state of collected gradients to the last bit: %s", async (_, more) => {
    const [byLink, collected] = [await learnt({ ...more }), await learnt({ ...more, clip: FAR })];
    expect([...byLink.tensors.keys()]).toEqual([...collected.tensors.keys()]);
    for (const [name, { data }] of collected.tensors)
      expect(byLink.tensors.get(name)!.data, name).toEqual(data);
    for (const [i, { gradientNorm, ...report }] of collected.steps.entries()) {
      const { gradientNorm: norm, ...rest } = byLink.steps[i];
      expect(rest).toEqual(report);
      expect(norm / gradientNorm).toBeCloseTo(1, 5);
    }
  });

  test("keeps the gradients of one link alive, where collecting keeps all", async () => {
    const [byLink, collected] = [await mostAlive(null), await mostAlive(FAR)];
    expect(collected).toBe(weights.size);
    const inBlock = [...weights.keys()].filter((key) => key.includes("transformer_blocks.0."));
    expect(byLink).toBe(inBlock.length);
  });

  test("compiles one update for all blocks", async () => {
    const spied = new Engine({ threads: 1 });
    const labels = loadLabels(spied);
    const learner = await Learner.start([spied], weights, settings);
    for (const step of [1, 2]) await learner.step(step, 1e-3, [batch]);
    // Of the head, of a block, of the embedding.
    expect(labels.filter((label) => label === "update")).toHaveLength(3);
    await learner.close();
    await spied.close();
  });

  test("goes on to the end of a step that is stopped in its updates, and stops before them", async () => {
    const expected = await learnt({});
    const stop = new AbortController();
    const spied = spiedEngine(({ label }) => {
      if (label === "update") stop.abort();
    });
    const learner = await Learner.start([spied], weights, settings);
    await learner.step(1, 1e-3, [batch], { signal: stop.signal });
    expect(stop.signal.aborted).toBe(true);
    const between = await learner.tensors();
    const stopped = learner.step(2, 1e-3, [batch], { signal: stop.signal });
    await expect(stopped).rejects.toThrow(CancelledError);
    expect(await learner.tensors()).toEqual(between);
    await learner.step(2, 1e-3, [batch]);
    expect(await learner.tensors()).toEqual(expected.tensors);
    await learner.close();
    await spied.close();
  });

  async function learnt(more: Partial<LearnerSettings>) {
    const learner = await Learner.start([engine], weights, { ...settings, ...more });
    const steps = [await learner.step(1, 1e-3, [batch]), await learner.step(2, 1e-3, [batch])];
    const tensors = await learner.tensors();
    await learner.close();
    return { steps, tensors };
  }

  /** The most gradients of weights that an engine has at once. */
  async function mostAlive(clip: number | null): Promise<number> {
    const alive = new Set<number>();
    let most = 0;
    const spied = spiedEngine(
      (_, { consume = [] }) => {
        for (const { id } of consume) alive.delete(id);
      },
      (outputs) => {
        for (const [name, { id }] of Object.entries(outputs)) if (name.startsWith("gradient/")) alive.add(id);
        most = Math.max(most, alive.size);
      },
    );
    const learner = await Learner.start([spied], weights, { ...settings, clip });
    await learner.step(1, 1e-3, [batch]);
    await learner.close();
    await spied.close();
    expect(alive.size).toBe(0);
    return most;
  }
});

describe("a chain of roots", () => {
  test("moves weights that the loss does not reach as collected gradients do", async () => {
    const weights = rootWeights([1, 4, 9], [1, 2, 3]);
    const both = [null, FAR].map(async (clip) => {
      const decayed = { ...settings, clip, adamW: { ...defaultAdamW, weightDecay: 0.1 } };
      const learner = await Learner.start([engine], weights, decayed);
      await learner.step(1, 0.1, [rootBatch()]);
      const tensors = await learner.tensors();
      await learner.close();
      return tensors;
    });
    const [byLink, collected] = await Promise.all(both);
    expect(byLink).toEqual(collected);
    expect(byLink.get("weight/apart")!.data[0]).toBeCloseTo(5 * 0.99, 5);
  });

  test.each([
    ["the last link", [1, 4, 9], [1, 0, 3], "roots.1.w"],
    ["an earlier link", [1, 0, 9], [1, 2, 3], "roots.0.w"],
  ])("refuses a gradient of %s that is not finite, by name", async (_, first, second, key) => {
    const message = `the gradient of step 3 is not finite: ${key} has a NaN or an infinity`;
    for (const clip of [null, 1]) {
      const learner = await Learner.start([engine], rootWeights(first, second), { ...settings, clip });
      const before = await learner.tensors();
      await expect(learner.step(3, 0.1, [rootBatch()])).rejects.toThrow(message);
      // Link by link, the other one has been updated by then.
      if (clip === null && key === "roots.0.w") {
        await expect(learner.tensors()).rejects.toThrow(/no step's; go on from what was saved/);
        await expect(learner.step(3, 0.1, [rootBatch()])).rejects.toThrow(/no step's/);
        expect(() => learner.weights()).toThrow(/no step's/);
      } else expect(await learner.tensors()).toEqual(before);
      await learner.close();
    }
  });
});

function transformerBatch(): { batch: MicroBatch; weights: Weights } {
  const config = parseTransformerConfig(
    { ...toyTransformer, num_layers: 2, use_rotary_positional_embeddings: true },
    "config.json",
  );
  const whole = textToVideoGraph(config, { batch: 1, frames: 1, height: 4, width: 4, textLength: 5 }, null);
  const shapes = new Map([...whole.graph.params].map(([key, { shape }]) => [key, shape]));
  const values = hashWeights(Object.fromEntries(shapes));
  const scheduler = parseSchedulerConfig({ _class_name: "CogVideoXDDIMScheduler" }, "scheduler_config.json");
  const feeds = textToVideoFeeds(whole, noiseSchedule(scheduler), {
    latents: [hashInput([1, 4, 4, 4], 1)],
    text: [hashInput([5, 12], 3)],
    timesteps: [400],
    noise: { seed: 1, step: 1, part: 0 },
  });
  return {
    batch: { graph: { ...whole.graph, chain: segmentedTextToVideo(whole, null) }, feeds },
    weights: new Map([...shapes].map(([key, shape]) => [key, { shape, data: values.get(key)! }])),
  };
}

/** x √v √w, whose gradient has no bounds where a weight is 0. */
function rootBatch(): MicroBatch {
  const rooted = (x: Tensor, w: Tensor) => x.mul(sqrt(w));
  const param = (key: string) => emit("Param", [], { key, shape: [3] });
  const block = traceSegment("root", { x: [3] }, ({ x }) => {
    const w = param("w");
    return { outputs: { x: rooted(x, w) }, params: new Map([["w", w]]) };
  });
  const sum = traceSegment("sum", { x: [3] }, ({ x }) => ({
    outputs: { loss: x.sum([0]) },
    params: new Map(),
  }));
  const links = [0, 1].map((i) => ({ segment: block, prefix: `roots.${i}.` }));
  const chain = segmentedGraph("roots", [...links, { segment: sum, prefix: "" }]);
  const params = new Map(["roots.0.w", "roots.1.w"].map((key) => [key, param(key)]));
  const loss = [...params.values()].reduce(rooted, input("x", [3])).sum([0]);
  const graph = { name: "roots", loss, report: {}, params, chain };
  return { graph, feeds: { x: f32([3], [1, 2, 3]) } };
}

function rootWeights(first: readonly number[], second: readonly number[]): Weights {
  const values = { "roots.0.w": first, "roots.1.w": second, apart: [5, 5, 5] };
  return new Map(
    Object.entries(values).map(([key, data]) => [key, { shape: [3], data: Float32Array.from(data) }]),
  );
}

type Run = Engine["run"];

/** An engine that tells of every run before it and after it. */
function spiedEngine(
  before: (session: Session, options: RunOptions) => void,
  after: (outputs: Awaited<ReturnType<Run>>) => void = () => {},
): Engine {
  const spied = new Engine({ threads: 1 });
  const run = spied.run.bind(spied);
  spied.run = async (session: Session, feeds: Readonly<Record<string, Value>>, options: RunOptions = {}) => {
    before(session, options);
    const outputs = await run(session, feeds, options);
    after(outputs);
    return outputs;
  };
  return spied;
}
