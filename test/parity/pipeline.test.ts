/** @file The denoising loop and the decoder together, against pipeline runs of the reference. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createRng, drawNormals } from "../../src/diffusion/noise.ts";
import { startRun } from "../../src/diffusion/sampler.ts";
import { samplerFor } from "../../src/diffusion/sampler-for.ts";
import { parseSchedulerConfig } from "../../src/diffusion/schedule.ts";
import { sizeOf } from "../../src/graph/shape.ts";
import { parseTransformerConfig } from "../../src/models/transformer/config.ts";
import { transformerSegments } from "../../src/models/transformer/transformer.ts";
import { parseVaeConfig } from "../../src/models/vae/config.ts";
import { decodeLatents } from "../../src/pipeline/decode.ts";
import { denoise } from "../../src/pipeline/denoise.ts";
import { Denoiser } from "../../src/pipeline/denoiser.ts";
import { vaeShapes } from "../../src/pipeline/vae-chunks.ts";
import { Engine } from "../../src/runtime/engine.ts";
import { declaredShapes } from "../../src/runtime/mapped-weights.ts";
import type { HostTensor } from "../../src/runtime/protocol.ts";
import { hashCheckpoint } from "../helpers/hash-checkpoint.ts";
import { hashInput } from "../helpers/hash-fill.ts";
import { releasedScheduler } from "../helpers/released-scheduler.ts";
import { toyTransformer } from "../helpers/toy-transformer.ts";
import { toyVae } from "../helpers/toy-vae.ts";

const golden = JSON.parse(readFileSync("test/fixtures/golden/pipeline.json", "utf8"));

const base = toyTransformer;
const rope = { ...base, use_rotary_positional_embeddings: true };
const temporal = { ...rope, patch_size_t: 2 };
const scheduler = parseSchedulerConfig(releasedScheduler, "scheduler_config.json");
const vaeConfig = parseVaeConfig({ ...toyVae, scaling_factor: 1.15258426 }, "config.json");

let engine: Engine;
beforeAll(() => {
  engine = new Engine();
});
afterAll(() => engine.close());

type Run = {
  readonly config: object;
  readonly frames: number;
  readonly steps: number;
  readonly choice?: "dpm";
  readonly dynamic?: boolean;
};

/** Latents after the run and the frames they decode to, `[T, H, W, 3]`. */
async function sample({ config: json, frames, steps, choice, dynamic = false }: Run) {
  const config = parseTransformerConfig(json, "config.json");
  const call = { batch: 2, frames, height: 6, width: 8, textLength: 5 };
  const added = config.rotary ? "none" : "rows";
  const { embed, blocks, head } = transformerSegments(config, { ...call, added });
  const weights = await hashCheckpoint(declaredShapes([embed, ...blocks, head]));
  const denoiser = new Denoiser(engine, config, weights, call);
  const sampler = samplerFor(scheduler, choice);
  const shape = [1, frames, 4, 6, 8];
  const rng = createRng(0);
  const noise = choice === "dpm" ? drawNormals(rng, sizeOf(shape)) : hashInput(shape, 1008);
  const text = new Float32Array(2 * 5 * 12);
  text.set(hashInput([1, 5, 12], 1007));
  text.set(hashInput([1, 5, 12], 1006), 60);
  const run = {
    denoiser,
    plan: sampler.prepare(steps, { parity: true }),
    sampler,
    guidance: { scale: 6, mode: dynamic ? "wave" : "constant" } as const,
    text: { dtype: "f32", shape: [2, 5, 12], data: text } as HostTensor,
    shape,
  };
  let state = startRun(noise, rng);
  for await (state of denoise(run, state));
  await denoiser.close();
  const latents: HostTensor = { dtype: "f32", shape, data: state.latents };
  return { config, latents };
}

async function decoded({ config, latents }: Awaited<ReturnType<typeof sample>>): Promise<Float32Array> {
  const vae = { config: vaeConfig, weights: await hashCheckpoint(vaeShapes(vaeConfig)) };
  const transformer = { config, weights: vae.weights };
  const parts: number[] = [];
  for await (const { frames } of decodeLatents(engine, { transformer, vae }, latents))
    parts.push(...(frames.data as Float32Array));
  return Float32Array.from(parts);
}

test.each([
  ["P_t2v_ddim3_latent", { config: rope, frames: 3, steps: 3 }],
  ["P_t2v_ddim3_dyncfg_latent", { config: rope, frames: 3, steps: 3, dynamic: true }],
  ["P_t2v_dpm4_seed0_latent", { config: rope, frames: 3, steps: 4, choice: "dpm" }],
  ["P_t2v15_ddim3_latent", { config: temporal, frames: 4, steps: 3 }],
] as const)("%s", async (name, run) => {
  const { latents } = await sample(run);
  expect(latents.shape).toEqual(golden[name].shape);
  expect(latents.data as Float32Array).toBeCloseToArray(golden[name].data, { atol: 2e-5 });
});

test.each([
  ["P_t2v_ddim3_pt", { config: rope, frames: 3, steps: 3 }],
  ["P_t2v15_ddim3_pt", { config: temporal, frames: 4, steps: 3 }],
] as const)("%s", async (name, run) => {
  const frames = await decoded(await sample(run));
  const { first, last, absmean } = golden[name];
  const plane = 48 * 64;
  // The reference's layout is [T, 3, H, W]; its first and last values lie in red of frame 0 and blue of frame 8.
  const red = Array.from({ length: first.length }, (_, i) => frames[i * 3]);
  const blue = Array.from({ length: last.length }, (_, i) => frames[(9 * plane - last.length + i) * 3 + 2]);
  expect(red).toBeCloseToArray(first, { atol: 1e-5 });
  expect(blue).toBeCloseToArray(last, { atol: 1e-5 });
  expect(frames.reduce((sum, x) => sum + x, 0) / frames.length).toBeCloseTo(absmean, 5);
});
