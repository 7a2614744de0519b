/** @file The modes of generation against pipeline runs of the reference on hash-filled models. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseSchedulerConfig } from "../../src/diffusion/schedule.ts";
import { parseTransformerConfig } from "../../src/models/transformer/config.ts";
import { transformerSegments } from "../../src/models/transformer/transformer.ts";
import { parseVaeConfig } from "../../src/models/vae/config.ts";
import type { SourceClip } from "../../src/pipeline/clip-source.ts";
import { controlMode } from "../../src/pipeline/control-to-video.ts";
import { begin, conditionsOf, noiseOrGiven, sample, type Unprompted } from "../../src/pipeline/generate.ts";
import { imageMode } from "../../src/pipeline/image-to-video.ts";
import { inpaintMode } from "../../src/pipeline/inpaint-video.ts";
import { invertAndRemake } from "../../src/pipeline/invert-video.ts";
import type { Mode } from "../../src/pipeline/mode.ts";
import type { Pipeline } from "../../src/pipeline/pipeline.ts";
import { vaeShapes } from "../../src/pipeline/vae-chunks.ts";
import { videoMode } from "../../src/pipeline/video-to-video.ts";
import { Engine } from "../../src/runtime/engine.ts";
import { declaredShapes } from "../../src/runtime/mapped-weights.ts";
import type { HostTensor } from "../../src/runtime/protocol.ts";
import { hashCheckpoint } from "../helpers/hash-checkpoint.ts";
import { hashInput } from "../helpers/hash-fill.ts";
import { releasedScheduler } from "../helpers/released-scheduler.ts";
import { toyTransformer } from "../helpers/toy-transformer.ts";
import { toyVae } from "../helpers/toy-vae.ts";

const golden = JSON.parse(readFileSync("test/fixtures/golden/modes.json", "utf8"));

const rope = {
  ...toyTransformer,
  use_rotary_positional_embeddings: true,
};
const vae = { ...toyVae, scaling_factor: 1.15258426 };

let engine: Engine;
beforeAll(() => {
  engine = new Engine();
});
afterAll(() => engine.close());

const size = { width: 64, height: 48, frames: 9 };
const given: HostTensor = { dtype: "f32", shape: [1, 3, 4, 6, 8], data: hashInput([1, 3, 4, 6, 8], 1008) };
const prompts = { positive: states(1006), negative: states(1007), empty: states(1013) };

describe("reference pipelines", () => {
  test("P_i2v_ddim3_seed0_latent", async () => {
    const pipeline = await hashPipeline({ ...rope, in_channels: 8, use_learned_positional_embeddings: true });
    const options = { steps: 3, parity: true };
    await hold(
      "P_i2v_ddim3_seed0_latent",
      pipeline,
      options,
      imageMode(pipeline, options, size, picture(1009)),
    );
  });

  test("P_i2v15_ddim3_seed0_latent", async () => {
    const config = { ...rope, in_channels: 8, patch_size_t: 2, ofs_embed_dim: 8 };
    const scaled = { scaling_factor: 0.7, invert_scale_latents: true };
    const pipeline = await hashPipeline(config, { vae: scaled });
    const mode = imageMode(pipeline, {}, size, picture(1009));
    expect(mode).toMatchObject({ padding: 1, recipe: { imageScaling: "inverted" } });
    await hold("P_i2v15_ddim3_seed0_latent", pipeline, { steps: 3, parity: true }, mode);
  });

  test("P_v2v_ddim5_s06_seed0_latent", async () => {
    const pipeline = await hashPipeline(rope);
    const mode = videoMode(pipeline, { strength: 0.6 }, clip());
    await hold("P_v2v_ddim5_s06_seed0_latent", pipeline, { steps: 5 }, mode);
  });

  test("P_fun_ddim2_latent", async () => {
    const scheduler = { _class_name: "DDIMScheduler" };
    const pipeline = await hashPipeline({ ...rope, in_channels: 8 }, { scheduler });
    const mode = controlMode(pipeline, { latents: given }, clip());
    await hold("P_fun_ddim2_latent", pipeline, { steps: 2 }, mode);
  });
});

describe("inpainting", () => {
  test.each([
    ["M_inpaint_both", 1011, 1012],
    ["M_inpaint_start", 1011, null],
    ["M_inpaint_end", null, 1012],
    ["M_inpaint_none", null, null],
  ] as const)("%s", async (name, start, end) => {
    const pipeline = await hashPipeline({ ...rope, in_channels: 9 });
    const ends = { start: start && picture(start), end: end && picture(end) };
    const mode = inpaintMode(pipeline, { latents: given }, size, ends as Parameters<typeof inpaintMode>[3]);
    await hold(name, pipeline, { steps: 2 }, mode);
  });
});

describe("inpainting with temporal patches", () => {
  test.each([
    ["M_inpaint_patches_both", 13, true],
    ["M_inpaint_patches_padded", 9, true],
    ["M_inpaint_patches_none", 13, false],
  ] as const)("%s", async (name, frames, isKnown) => {
    const pipeline = await hashPipeline({ ...rope, in_channels: 9, patch_size_t: 2 });
    const ends = isKnown ? { start: picture(1011), end: picture(1012) } : { start: null, end: null };
    const shape = [1, 4, 4, 6, 8];
    const latents: HostTensor = { dtype: "f32", shape, data: hashInput(shape, 1008) };
    const mode = inpaintMode(pipeline, { latents }, { ...size, frames }, ends);
    expect(mode.padding).toBe(frames === 9 ? 1 : 0);
    await hold(name, pipeline, { steps: 2 }, mode);
  });
});

describe("spatio-temporal guidance", () => {
  test.each([
    ["M_stg", false],
    ["M_stg_rescaled", true],
  ])("%s", async (name, rescale) => {
    const pipeline = await hashPipeline({ ...rope, num_layers: 3 });
    const options = { steps: 3, parity: true, latents: given, stg: { scale: 1.5, layers: [1], rescale } };
    await hold(name, pipeline, options, textMode(options));
  });
});

test("inversion finds the reference's noise and makes the reference's video of it", async () => {
  const pipeline = await hashPipeline(rope);
  const run = invertAndRemake(pipeline, { steps: 3, parity: true }, clip(), prompts);
  let next = await run.next();
  const kinds: string[] = [];
  for (; !next.done; next = await run.next()) {
    kinds.push(next.value.kind);
    if (next.value.kind === "inverted") compare("M_inverted", next.value.latents);
  }
  expect(kinds).toEqual(["step", "step", "step", "inverted", "step", "step", "step"]);
  compare("M_remade", next.value);
});

/** Runs a mode to its last step and compares the latents. */
async function hold(name: string, pipeline: Pipeline, options: Unprompted, mode: Mode): Promise<void> {
  const run = await begin(pipeline, options, mode);
  const steps = sample(pipeline, options, { ...conditionsOf(pipeline, options), ...run, text: prompts });
  let next = await steps.next();
  while (!next.done) next = await steps.next();
  compare(name, next.value);
}

function compare(name: string, { shape, data }: HostTensor): void {
  expect(shape).toEqual(golden[name].shape);
  const most = (data as Float32Array).reduce(
    (worst, x, i) => Math.max(worst, Math.abs(x - golden[name].data[i])),
    0,
  );
  console.log(`${name}: worst difference ${most.toExponential(2)}`);
  expect(data as Float32Array).toBeCloseToArray(golden[name].data, { atol: 3e-5 });
}

async function hashPipeline(
  json: object,
  changes: { vae?: object; scheduler?: object } = {},
): Promise<Pipeline> {
  const config = parseTransformerConfig(json, "config.json");
  const call = { batch: 1, frames: config.patchT ? 4 : 3, height: 6, width: 8, textLength: 5 };
  const added = config.learnedPositions ? "learned" : "none";
  const { embed, blocks, head } = transformerSegments(config, { ...call, added });
  const vaeConfig = parseVaeConfig({ ...vae, ...changes.vae }, "config.json");
  const checkpoint = {
    folder: "hash",
    pipelineClass: "CogVideoXPipeline",
    scheduler: parseSchedulerConfig(changes.scheduler ?? releasedScheduler, "scheduler_config.json"),
    transformer: { config, weights: await hashCheckpoint(declaredShapes([embed, ...blocks, head])) },
    vae: { config: vaeConfig, weights: await hashCheckpoint(vaeShapes(vaeConfig)) },
  };
  // Hidden states are given, so these runs have neither text encoder nor tokenizer.
  return { checkpoint, engine, close: async () => {} } as unknown as Pipeline;
}

function textMode(options: Unprompted): Mode {
  return {
    name: "text-to-video",
    size,
    latents: { frames: 3, height: 6, width: 8 },
    padding: 0,
    start: async ({ shape, rng }) => ({ latents: noiseOrGiven(options, shape, rng) }),
  };
}

function states(key: number): HostTensor {
  return { dtype: "f32", shape: [5, 12], data: hashInput([5, 12], key) };
}

/** One picture of hashed pixels. */
function picture(key: number): SourceClip {
  return source([1, 3, 48, 64], key);
}

/** Nine frames of hashed pixels. */
function clip(): SourceClip {
  return source([9, 3, 48, 64], 1010);
}

function source(shape: readonly number[], key: number): SourceClip {
  // The reference doubles [0, 1] and takes one away, each in float32.
  const data = hashInput(shape, key, 1).map((x) => 2 * Math.fround(x + 0.5) - 1);
  const event = { kind: "source", what: "hash", width: 64, height: 48, frames: shape[0], fit: null } as const;
  return { pixels: { dtype: "f32", shape, data }, event };
}
