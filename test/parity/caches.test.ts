/** @file Feature caches against runs of the reference on a hash-filled model of three blocks. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createRng } from "../../src/diffusion/noise.ts";
import { startRun } from "../../src/diffusion/sampler.ts";
import { samplerFor } from "../../src/diffusion/sampler-for.ts";
import { parseSchedulerConfig } from "../../src/diffusion/schedule.ts";
import { parseTransformerConfig } from "../../src/models/transformer/config.ts";
import { transformerSegments } from "../../src/models/transformer/transformer.ts";
import { CachedDenoiser } from "../../src/pipeline/caches/cached-denoiser.ts";
import type { CacheOptions } from "../../src/pipeline/caches/caches.ts";
import { addEvaluations, noEvaluations } from "../../src/pipeline/caches/evaluations.ts";
import { denoise } from "../../src/pipeline/denoise.ts";
import { Denoiser } from "../../src/pipeline/denoiser.ts";
import { Engine } from "../../src/runtime/engine.ts";
import { declaredShapes } from "../../src/runtime/mapped-weights.ts";
import type { HostTensor } from "../../src/runtime/protocol.ts";
import type { WeightSet } from "../../src/weights/checkpoint.ts";
import { hashCheckpoint } from "../helpers/hash-checkpoint.ts";
import { hashInput } from "../helpers/hash-fill.ts";

const golden = JSON.parse(readFileSync("test/fixtures/golden/caches.json", "utf8"));

const config = parseTransformerConfig(
  {
    num_attention_heads: 2,
    attention_head_dim: 16,
    in_channels: 4,
    out_channels: 4,
    time_embed_dim: 8,
    text_embed_dim: 12,
    num_layers: 3,
    sample_width: 8,
    sample_height: 6,
    sample_frames: 9,
    max_text_seq_length: 5,
    use_rotary_positional_embeddings: true,
  },
  "config.json",
);
const scheduler = parseSchedulerConfig(
  {
    _class_name: "CogVideoXDDIMScheduler",
    clip_sample: false,
    prediction_type: "v_prediction",
    rescale_betas_zero_snr: true,
    timestep_spacing: "trailing",
    snr_shift_scale: 1.0,
  },
  "scheduler_config.json",
);
const call = { batch: 2, frames: 3, height: 6, width: 8, textLength: 5 };
const shape = [1, 3, 4, 6, 8];
const sampler = samplerFor(scheduler);
const plan = sampler.prepare(8);
const { timesteps } = plan;

let engine: Engine;
let weights: WeightSet;
beforeAll(async () => {
  engine = new Engine();
  const { embed, blocks, head } = transformerSegments(config, { ...call, added: "none" });
  weights = await hashCheckpoint(declaredShapes([embed, ...blocks, head]));
});
afterAll(() => engine.close());

const text: HostTensor = { dtype: "f32", shape: [2, 5, 12], data: new Float32Array(120) };
(text.data as Float32Array).set(hashInput([1, 5, 12], 1007));
(text.data as Float32Array).set(hashInput([1, 5, 12], 1006), 60);

/** Latents after all steps with a denoiser, and what was evaluated. */
async function run(denoiser: Denoiser | CachedDenoiser) {
  let state = startRun(hashInput(shape, 1008), createRng(0));
  let evaluations = noEvaluations;
  for await (state of denoise({ denoiser, sampler, plan, guidance: { scale: 6 }, text, shape }, state))
    if (denoiser instanceof CachedDenoiser) evaluations = addEvaluations(evaluations, denoiser.evaluations);
  await denoiser.close();
  return { latents: state.latents, evaluations };
}

const cached = (cache: CacheOptions) =>
  new CachedDenoiser(engine, config, weights, { ...call, run: { cache, timesteps, isGuidedPair: true } });

function compare(name: string, latents: Float32Array): void {
  const { data } = golden[name];
  const worst = latents.reduce((most, x, i) => Math.max(most, Math.abs(x - data[i])), 0);
  console.log(`${name}: worst difference ${worst.toExponential(2)}`);
  expect(latents).toBeCloseToArray(data, { atol: 1e-4 });
}

test("C_none_ddim8", async () => {
  const { latents } = await run(new Denoiser(engine, config, weights, call));
  compare("C_none_ddim8", latents);
});

describe("the reference's caches", () => {
  test.each<[string, CacheOptions]>([
    ["C_pab_ddim8", { kind: "pab" }],
    [
      "C_fastercache_ddim8",
      { kind: "fastercache", weight: 0.3, unconditionalEvery: 2, unconditionalBelow: 781 },
    ],
    ["C_fbc_0.3_ddim8", { kind: "first-block", threshold: 0.3 }],
    ["C_taylor_lite_ddim8", { kind: "taylorseer", interval: 3 }],
    ["C_taylor_attn_ddim8", { kind: "taylorseer", interval: 3, part: "attention" }],
    ["C_mag_ddim8", { kind: "magcache", ratios: [1, 1.01, 0.99, 1.02, 0.98, 1, 1.01, 0.97] }],
  ])("%s", async (name, cache) => {
    const { latents, evaluations } = await run(cached(cache));
    console.log(JSON.stringify(evaluations));
    compare(name, latents);
  });
});
