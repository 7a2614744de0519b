/** @file Tests that a packed row of clips has the losses of its clips one by one, wherever a stage places tokens. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { hashInput, hashWeights } from "../../../test/helpers/hash-fill.ts";
import { toyTransformer } from "../../../test/helpers/toy-transformer.ts";
import { noiseSchedule, parseSchedulerConfig } from "../../diffusion/schedule.ts";
import { parseTransformerConfig } from "../../models/transformer/config.ts";
import { Engine, type Value } from "../../runtime/engine.ts";
import type { StagePositions } from "../diffusion/stage-positions.ts";
import { Learner, type MicroBatch } from "../learner.ts";
import { defaultAdamW } from "../optimiser/adamw.ts";
import { packedRowFeeds, packedTextToVideo } from "./packed-text-to-video.ts";
import { textToVideoFeeds, textToVideoGraph } from "./text-to-video.ts";

const sizes = [
  { frames: 3, height: 6, width: 8 },
  { frames: 1, height: 4, width: 4 },
];
const schedule = noiseSchedule(
  parseSchedulerConfig({ _class_name: "CogVideoXDDIMScheduler" }, "scheduler_config.json"),
);
const text = hashInput([5, 12], 3);
const timesteps = [999, 400];

let engine: Engine;
beforeAll(() => {
  engine = new Engine({ threads: 1 });
});
afterAll(() => engine.close());

test.each<[string, object, StagePositions]>([
  ["rotations of the checkpoint", { use_rotary_positional_embeddings: true }, { kind: "checkpoint" }],
  ["rotations counted on", { use_rotary_positional_embeddings: true }, { kind: "extrapolate" }],
  [
    "rotations within those of an earlier stage, and temporal patches",
    { use_rotary_positional_embeddings: true, patch_size_t: 2 },
    { kind: "interpolate", base: { frames: 2, height: 4, width: 4 } },
  ],
  ["added sines", {}, { kind: "checkpoint" }],
])("with %s", async (_, json, placement) => {
  const config = parseTransformerConfig({ ...toyTransformer, ...json }, "config.json");
  const alone = sizes.map((size, i) => {
    const built = textToVideoGraph(config, { ...size, batch: 1, textLength: 5 }, null, placement);
    const latents = hashInput([size.frames, 4, size.height, size.width], 1 + i);
    const batch = { latents: [latents], text: [text], timesteps: [timesteps[i]] };
    const noise = { seed: 1, step: 1, part: i };
    return { graph: built.graph, feeds: textToVideoFeeds(built, schedule, { ...batch, noise }) };
  });
  const row = packedTextToVideo(config, sizes, null, placement);
  const samples = alone.map(({ feeds }, i) => ({
    latents: feeds.latents.data as Float32Array,
    noise: feeds.noise.data as Float32Array,
    text,
    timestep: timesteps[i],
    weight: 0.5,
  }));
  const packed = { graph: row.graph, feeds: packedRowFeeds(row, schedule, samples) };
  const found = await evaluated([packed, ...alone]);
  expect(found[0].perSample).toBeCloseToArray([...found[1].perSample, ...found[2].perSample], {
    rtol: 1e-5,
    atol: 0,
  });
  expect(found[0].loss[0]).toBeCloseTo((found[1].loss[0] + found[2].loss[0]) / 2, 5);
});

async function evaluated(batches: readonly MicroBatch[]) {
  const shapes = new Map([...batches[0].graph.params].map(([key, { shape }]) => [key, shape]));
  const values = hashWeights(Object.fromEntries(shapes));
  const weights = new Map([...shapes].map(([key, shape]) => [key, { shape, data: values.get(key)! }]));
  const learner = await Learner.start([engine], weights, { adamW: defaultAdamW, clip: null, average: false });
  const results: Record<string, number[]>[] = [];
  for (const { graph, feeds } of batches) {
    const report = await learner.evaluate({ graph, feeds: feeds as Record<string, Value> });
    results.push(
      Object.fromEntries(
        Object.entries(report).map(([name, { data }]) => [name, Array.from(data as Float32Array)]),
      ),
    );
  }
  await learner.close();
  return results;
}
