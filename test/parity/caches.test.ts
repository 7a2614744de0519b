/** @file Feature caches against runs of the reference on a hash-filled model of three blocks. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createRng } from "../../src/diffusion/noise.ts";
import { startRun } from "../../src/diffusion/sampler.ts";
import { samplerFor } from "../../src/diffusion/sampler-for.ts";
import { parseSchedulerConfig } from "../../src/diffusion/schedule.ts";
import { parseTransformerConfig, type TransformerConfig } from "../../src/models/transformer/config.ts";
import { transformerSegments } from "../../src/models/transformer/transformer.ts";
import type { Variation } from "../../src/models/transformer/variation.ts";
import { throughAll } from "../../src/pipeline/block-runner.ts";
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
import { releasedScheduler } from "../helpers/released-scheduler.ts";
import { toyTransformer } from "../helpers/toy-transformer.ts";

const more = JSON.parse(readFileSync("test/fixtures/golden/caches-more.json", "utf8"));
const golden = JSON.parse(readFileSync("test/fixtures/golden/caches.json", "utf8"));

const json = {
  ...toyTransformer,
  num_layers: 3,
  use_rotary_positional_embeddings: true,
};
const config = parseTransformerConfig(json, "config.json");
const deeper = parseTransformerConfig({ ...json, num_layers: 6 }, "config.json");
const scheduler = parseSchedulerConfig(releasedScheduler, "scheduler_config.json");
const call = { batch: 2, frames: 3, height: 6, width: 8, textLength: 5 };
const shape = [1, 3, 4, 6, 8];
const sampler = samplerFor(scheduler);
const plan = sampler.prepare(8);
const { timesteps } = plan;

let engine: Engine;
let weights: WeightSet;
beforeAll(async () => {
  engine = new Engine();
  weights = await weightsOf(config);
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

function weightsOf(of: TransformerConfig): Promise<WeightSet> {
  const { embed, blocks, head } = transformerSegments(of, { ...call, added: "none" });
  return hashCheckpoint(declaredShapes([embed, ...blocks, head]));
}

const cached = (cache: CacheOptions) =>
  new CachedDenoiser(engine, config, weights, { ...call, run: { cache, timesteps, isGuidedPair: true } });

function compare(name: string, latents: Float32Array): void {
  const { data } = golden[name] ?? more[name];
  const worst = latents.reduce((most, x, i) => Math.max(most, Math.abs(x - data[i])), 0);
  console.log(`${name}: worst difference ${worst.toExponential(2)}`);
  expect(latents).toBeCloseToArray(data, { atol: 1e-5 });
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
    for (const { done, skipped } of Object.values(evaluations)) expect(done + skipped).toBe(8 * 3 * 2);
    expect(evaluations.attentions.skipped).toBeGreaterThan(0);
    compare(name, latents);
  });
});

describe("caches that the reference does not have, against their formulas in PyTorch", () => {
  test("teacache", async () => {
    const { latents, evaluations } = await run(cached({ kind: "teacache" }));
    expect(evaluations.blocks.skipped).toBe(more.teacache_5b.skipped.length * 3 * 2);
    compare("teacache_5b", latents);
  });

  test("dbcache", async () => {
    const cache = { kind: "dbcache", threshold: 0.3, front: 2, back: 1, warmup: 2, most: 2 } as const;
    const setUp = { ...call, run: { cache, timesteps, isGuidedPair: true } };
    const denoiser = new CachedDenoiser(engine, deeper, await weightsOf(deeper), setUp);
    const { latents, evaluations } = await run(denoiser);
    expect(evaluations.blocks.skipped).toBe(more.dbcache.skipped.length * 3 * 2);
    compare("dbcache", latents);
  });
});

describe("a block in two", () => {
  const inputs = () => ({
    latents: { dtype: "f32", shape: [2, 3, 4, 6, 8], data: hashInput([2, 3, 4, 6, 8], 7) } as const,
    text,
    timestep: [500, 500],
  });

  test.each<[string, Variation | undefined]>([
    ["plain", undefined],
    ["with samples that skip it", { kind: "skip", layers: [1], from: 1 }],
    ["with samples that others attend to", { kind: "reference" }],
  ])("gives what the whole block gives, %s", async (_, variation) => {
    const denoiser = new Denoiser(engine, config, weights, { ...call, variation });
    const whole = await denoiser.predict(inputs(), {}, throughAll);
    const split = await denoiser.predict(inputs(), {}, async (blocks, first) => {
      let streams = first;
      for (let i = 0; i < blocks.count; i++) {
        const attended = await blocks.attention(i, streams);
        streams = await blocks.rest(i, streams, attended);
        await blocks.free(attended.video, attended.text);
      }
      return streams;
    });
    await denoiser.close();
    expect(split.data as Float32Array).toBeCloseToArray(whole.data as Float32Array, { atol: 1e-6 });
  });
});

describe("a cache that has been saved", () => {
  test.each<CacheOptions>([
    { kind: "first-block", threshold: 0.3 },
    { kind: "fastercache", unconditionalEvery: 3 },
    { kind: "taylorseer", interval: 3 },
    { kind: "magcache", ratios: [1, 1.01, 0.99, 1.02, 0.98, 1, 1.01, 0.97] },
  ])("goes on to the same bytes: $kind", async (cache) => {
    const { latents: expected } = await run(cached(cache));
    const first = cached(cache);
    const setUp = { sampler, plan, guidance: { scale: 6 }, text, shape };
    let state = startRun(hashInput(shape, 1008), createRng(0));
    for await (state of denoise({ ...setUp, denoiser: first }, state)) if (state.step === 5) break;
    const saved = structuredClone(await first.save());
    await first.close();
    const second = cached(cache);
    second.resume(saved);
    for await (state of denoise({ ...setUp, denoiser: second }, state));
    await second.close();
    expect(state.latents).toEqual(expected);
  });
});

test("a cache that is told another step than the next computes everything", async () => {
  const denoiser = cached({ kind: "pab", to: 1000 });
  const inputs = {
    latents: { dtype: "f32", shape: [2, 3, 4, 6, 8], data: hashInput([2, 3, 4, 6, 8], 7) },
    text,
  } as const;
  for (const [step, skipped] of [
    [2, 0],
    [3, 6],
    [7, 0],
  ]) {
    await denoiser.predict({ ...inputs, timestep: [500, 500], step });
    expect(denoiser.evaluations.attentions.skipped).toBe(skipped);
  }
  await denoiser.close();
});
