/** @file Tests that a packed row has the losses and gradients of its clips one by one, whatever the model sees beside the text. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { runModel } from "../../../test/helpers/central-differences.ts";
import { hashInput, hashWeights } from "../../../test/helpers/hash-fill.ts";
import { toyTransformer } from "../../../test/helpers/toy-transformer.ts";
import { gradients } from "../../autodiff/grad.ts";
import { noiseSchedule, parseSchedulerConfig } from "../../diffusion/schedule.ts";
import { toOnnx } from "../../graph/onnx.ts";
import { simplify } from "../../graph/rewrite.ts";
import { parseTransformerConfig } from "../../models/transformer/config.ts";
import type { LatentSize } from "../../models/transformer/grid.ts";
import { Engine } from "../../runtime/engine.ts";
import type { HostTensor } from "../../runtime/protocol.ts";
import type { StagePositions } from "../diffusion/stage-positions.ts";
import { paddedSize } from "../diffusion/temporal-padding.ts";
import type { LossGraph } from "../learner.ts";
import { packedRowFeeds, packedTextToVideo } from "./packed-text-to-video.ts";
import { textToVideoFeeds, textToVideoGraph } from "./text-to-video.ts";

const sizes: readonly LatentSize[] = [
  { frames: 3, height: 6, width: 8 },
  { frames: 1, height: 4, width: 4 },
];
const rotary = { use_rotary_positional_embeddings: true };
const patched = { ...rotary, patch_size_t: 2 };
const atCheckpoint: StagePositions = { kind: "checkpoint" };
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

test.each<[string, object, StagePositions, (readonly LatentSize[])?]>([
  ["rotations of the checkpoint", rotary, atCheckpoint],
  ["rotations counted on", rotary, { kind: "extrapolate" }],
  [
    "rotations within those of an earlier stage, and temporal patches",
    patched,
    { kind: "interpolate", base: { frames: 2, height: 4, width: 4 } },
  ],
  ["added sines", {}, atCheckpoint],
  ["a first frame", { ...rotary, in_channels: 8 }, atCheckpoint],
  ["a mask and what it leaves", { ...rotary, in_channels: 9 }, atCheckpoint],
  ["a first frame, temporal patches and ofs", { ...patched, in_channels: 8, ofs_embed_dim: 8 }, atCheckpoint],
  [
    "a first frame and learned positions, of clips as long as these are for and of images",
    { ...rotary, in_channels: 8, use_learned_positional_embeddings: true },
    atCheckpoint,
    [3, 1].map((frames) => ({ frames, height: 6, width: 8 })),
  ],
])("with %s", async (_, json, placement, clips = sizes) => {
  const config = parseTransformerConfig({ ...toyTransformer, ...json }, "config.json");
  const channels = config.inChannels - config.outChannels;
  const alone = clips.map((size, i) => {
    const built = textToVideoGraph(config, { ...size, batch: 1, textLength: 5 }, null, placement);
    const { frames, height, width } = paddedSize(size, config.patchT);
    const condition = channels === 0 ? undefined : hashInput([frames, channels, height, width], 30 + i);
    const batch = {
      latents: [hashInput([size.frames, 4, size.height, size.width], 1 + i)],
      text: [text],
      conditions: condition && [condition],
      timesteps: [timesteps[i]],
      noise: { seed: 1, step: 1, part: i },
    };
    return { graph: built.graph, condition, feeds: textToVideoFeeds(built, schedule, batch) };
  });
  const row = packedTextToVideo(config, clips, null, placement);
  const samples = alone.map(({ feeds, condition }, i) => ({
    latents: feeds.latents.data as Float32Array,
    noise: feeds.noise.data as Float32Array,
    text,
    condition,
    timestep: timesteps[i],
    weight: 0.5,
  }));
  const values = weightsOf(row.graph);
  const packed = await differentiated(row.graph, packedRowFeeds(row, schedule, samples), values);
  const [first, second] = [
    await differentiated(alone[0].graph, alone[0].feeds, values),
    await differentiated(alone[1].graph, alone[1].feeds, values),
  ];
  expect(packed.perSample).toBeCloseToArray([...first.perSample, ...second.perSample], {
    rtol: 1e-5,
    atol: 0,
  });
  expect(packed.loss[0]).toBeCloseTo((first.loss[0] + second.loss[0]) / 2, 5);
  const largest = (values: readonly number[]) => Math.max(...values.map(Math.abs));
  const overall = Math.max(...Object.values(packed.gradients).map(largest));
  for (const [key, found] of Object.entries(packed.gradients)) {
    const of = (each: Differentiated, at: number) => each.gradients[key]?.[at] ?? 0;
    const off = largest(found.map((value, at) => value - (of(first, at) + of(second, at)) / 2));
    expect(off / Math.max(largest(found), overall / 100), key).toBeLessThan(1e-5);
  }
});

test("a row refuses clips without what its model sees beside the text, and a text-to-video row clips with it", () => {
  const rowOf = (channels: number) => {
    const json = { ...toyTransformer, ...rotary, in_channels: channels };
    return packedTextToVideo(parseTransformerConfig(json, "config.json"), sizes, null, atCheckpoint);
  };
  const values = new Float32Array(0);
  const bare = { latents: values, noise: values, text, timestep: 1, weight: 1 };
  expect(() => packedRowFeeds(rowOf(8), schedule, [bare, bare])).toThrow(/8 input .* got none/);
  const seeing = { ...bare, condition: values };
  expect(() => packedRowFeeds(rowOf(4), schedule, [seeing, seeing])).toThrow(/takes no conditioning latents/);
});

type Differentiated = Awaited<ReturnType<typeof differentiated>>;

/** What a row declares, which is what any of its clips declares. */
function weightsOf({ params }: LossGraph): Record<string, HostTensor> {
  const shapes = Object.fromEntries([...params].map(([key, { shape }]) => [key, shape]));
  const values = [...hashWeights(shapes)];
  return Object.fromEntries(values.map(([key, data]) => [key, { dtype: "f32", shape: shapes[key], data }]));
}

async function differentiated(
  { loss, report, params }: LossGraph,
  feeds: Record<string, HostTensor>,
  weights: Record<string, HostTensor>,
) {
  const keys = [...params.keys()];
  const found = gradients(
    loss,
    keys.map((key) => params.get(key)!),
  );
  const grads = Object.fromEntries(keys.map((key, i) => [`gradient of ${key}`, found[i]]));
  const model = toOnnx(simplify({ loss, ...report, ...grads }));
  const outputs = await runModel(engine, model, { ...feeds, ...weights });
  return {
    loss: outputs.loss,
    perSample: outputs.perSample,
    gradients: Object.fromEntries(keys.map((key) => [key, outputs[`gradient of ${key}`]])),
  };
}
