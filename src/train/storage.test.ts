/** @file Tests of weights in bfloat16 with float32 beside them: what losses see, what updates keep, what is gone on with. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { temporaryFolder } from "../../test/helpers/command-line.ts";
import { hashInput, hashWeights } from "../../test/helpers/hash-fill.ts";
import { toyRecipe } from "../../test/helpers/toy-recipe.ts";
import { toyTransformer } from "../../test/helpers/toy-transformer.ts";
import { noiseSchedule, parseSchedulerConfig } from "../diffusion/schedule.ts";
import { parseT5Config } from "../models/t5/config.ts";
import { parseTransformerConfig } from "../models/transformer/config.ts";
import { Engine } from "../runtime/engine.ts";
import { bf16ToFloats, floatsToBf16 } from "../weights/cast.ts";
import { Learner, type Weights } from "./learner.ts";
import { defaultAdamW } from "./optimiser/adamw.ts";
import { runRecipe } from "./recipe/run-recipe.ts";
import { textToVideoFeeds, textToVideoGraph } from "./tasks/text-to-video.ts";

const config = parseTransformerConfig(
  { ...toyTransformer, use_rotary_positional_embeddings: true },
  "config.json",
);
const t5 = parseT5Config(
  {
    d_model: 12,
    d_kv: 4,
    num_heads: 2,
    d_ff: 8,
    num_layers: 1,
    vocab_size: 9,
    feed_forward_proj: "gated-gelu",
  },
  "config.json",
);
const whole = textToVideoGraph(config, { batch: 2, frames: 3, height: 6, width: 8, textLength: 5 }, t5);
const shapes = new Map([...whole.graph.params].map(([key, { shape }]) => [key, shape]));
const values = hashWeights(Object.fromEntries(shapes));
const weights: Weights = new Map([...shapes].map(([key, shape]) => [key, { shape, data: values.get(key)! }]));
const rounded: Weights = new Map(
  [...weights].map(([key, { shape, data }]) => [key, { shape, data: bf16ToFloats(floatsToBf16(data)) }]),
);
const feeds = textToVideoFeeds(
  whole,
  noiseSchedule(parseSchedulerConfig({ _class_name: "CogVideoXDDIMScheduler" }, "scheduler_config.json")),
  {
    latents: [hashInput([3, 4, 6, 8], 1), hashInput([3, 4, 6, 8], 2)],
    text: [Int32Array.of(1, 4, 8, 0, 0), Int32Array.of(2, 2, 7, 3, 0)],
    timesteps: [999, 400],
    noise: { seed: 1, step: 1, part: 0 },
  },
);
const batch = { graph: whole.graph, feeds };
const settings = { adamW: defaultAdamW, clip: 1, average: true };

/** Seconds on an idle machine. */
const LONG = 600_000;

let engine: Engine;
beforeAll(() => {
  engine = new Engine({ threads: 1 });
});
afterAll(() => engine.close());

test(
  "losses and gradients are those of the rounded weights, to the last bit",
  async () => {
    const narrow = await Learner.start([engine], weights, { ...settings, storage: "bf16" });
    const exact = await Learner.start([engine], rounded, settings);
    expect(await narrow.evaluate(batch)).toEqual(await exact.evaluate(batch));
    const [found, expected] = [await narrow.step(1, 1e-3, [batch]), await exact.step(1, 1e-3, [batch])];
    expect(found).toEqual(expected);
    const plain = await Learner.start([engine], weights, settings);
    expect((await plain.step(1, 1e-3, [batch])).loss).not.toBe(found.loss);
    // The mean is a tenth of the clipped gradient.
    const [means, expectedMeans] = [await narrow.tensors(["mean"]), await exact.tensors(["mean"])];
    expect(means).toEqual(expectedMeans);
    for (const learner of [narrow, exact, plain]) await learner.close();
  },
  LONG,
);

test(
  "updates add to the weights in float32, which a step below their last bit in bfloat16 moves",
  async () => {
    const learner = await Learner.start([engine], weights, { ...settings, storage: "bf16" });
    await learner.step(1, 1e-6, [batch]);
    const after = await learner.read();
    let [moved, seen, all] = [0, 0, 0];
    for (const [key, { data }] of after) {
      const [old, bits, oldBits] = [
        weights.get(key)!.data,
        floatsToBf16(data),
        floatsToBf16(weights.get(key)!.data),
      ];
      for (const i of data.keys()) {
        all++;
        if (data[i] !== old[i]) moved++;
        if (bits[i] !== oldBits[i]) seen++;
      }
    }
    expect(moved).toBeGreaterThan(0.8 * all);
    expect(seen).toBeLessThan(0.05 * all);
    await learner.close();
  },
  LONG,
);

test(
  "goes on from what was saved as if it had never stopped, on one engine and on two",
  async () => {
    for (const count of [1, 2]) {
      const stages = "    - {steps: 4, batch: 2, accumulate: 2, rate: 3e-3, warmUp: 2, storage: bf16}";
      const text = toyRecipe({ vaeSteps: 0, stages, transformer: `engines: {count: ${count}}` });
      const [whole, pieces] = [join(temporaryFolder(), "run"), join(temporaryFolder(), "run")];
      const run = (folder: string, options = {}) =>
        runRecipe({ file: "toy.yaml", text }, { folder, ...options });
      await run(whole);
      await run(pieces, { maxSteps: 3 });
      await run(pieces, { resume: true });
      const state = (folder: string) =>
        readFileSync(join(folder, "checkpoints/step-00000004/state.safetensors"));
      expect(state(pieces).equals(state(whole))).toBe(true);
    }
  },
  LONG,
);
