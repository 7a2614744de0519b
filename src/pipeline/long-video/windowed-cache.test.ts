/** @file Windows with feature caches: each window is cached as if it were a clip of its own. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { recorded } from "../../../test/helpers/tiny-checkpoint.ts";
import { createRng, drawNormals } from "../../diffusion/noise.ts";
import type { HostTensor } from "../../runtime/protocol.ts";
import type { CacheState } from "../caches/cached-denoiser.ts";
import type { CacheOptions } from "../caches/caches.ts";
import type { PipelineEvent } from "../events.ts";
import type { GenerateOptions } from "../generate-options.ts";
import { loadPipeline, type Pipeline } from "../pipeline.ts";
import { textToVideo } from "../text-to-video.ts";

let pipeline: Pipeline;
beforeAll(async () => {
  pipeline = await loadPipeline(recorded("t2v-rope"));
});
afterAll(() => pipeline.close());

const base = { prompt: "A red circle moves left.", width: 64, height: 48, steps: 6, seed: 1 };
/** Seven latent frames, seen three at a time, of which neighbours share one. */
const overlapping = { frames: 25, longVideo: { window: { frames: 9, overlap: 4 } } };

type Step = Extract<PipelineEvent, { kind: "step" }>;
type Made = {
  readonly data: Float32Array;
  readonly shape: readonly number[];
  readonly done: number;
  readonly skipped: number;
};

async function make(options: Partial<GenerateOptions>, onStep?: (step: Step) => Promise<void>) {
  let latents: HostTensor | null = null;
  let blocks = { done: 0, skipped: 0 };
  for await (const event of textToVideo(pipeline, { ...base, ...options, latentsOnly: true })) {
    if (event.kind === "step") await onStep?.(event);
    if (event.kind === "latents") latents = event.latents;
    if (event.kind === "done" && event.evaluations) blocks = event.evaluations.blocks;
  }
  return { data: latents!.data as Float32Array, shape: latents!.shape, ...blocks } satisfies Made;
}

test.each<CacheOptions>([
  { kind: "first-block", threshold: 0 },
  { kind: "dbcache", threshold: 0, front: 1, warmup: 0 },
  { kind: "taylorseer", interval: 1 },
])("a cache that never skips changes not one bit: $kind", async (cache) => {
  const plain = await make(overlapping);
  const cached = await make({ ...overlapping, cache });
  expect(cached.data).toEqual(plain.data);
  expect(cached.done).toBeGreaterThan(0);
  expect(cached.skipped).toBe(0);
});

const numWindows = 3;

const skipping: readonly CacheOptions[] = [
  { kind: "taylorseer", interval: 3, warmup: 2 },
  { kind: "magcache", ratios: [1, 1.01, 0.99, 1.02, 0.98, 1], retention: 0 },
  { kind: "teacache", threshold: 1e6 },
  { kind: "fastercache", every: 2, unconditionalEvery: 2, below: 1000, unconditionalBelow: 1000 },
];

test.each(skipping)("one that skips evaluates fewer blocks in every window: $kind", async (cache) => {
  const whole = await make({ frames: 9, cache });
  const windowed = await make({ ...overlapping, cache });
  expect(whole.skipped).toBeGreaterThan(0);
  expect(windowed.skipped).toBe(numWindows * whole.skipped);
  expect(windowed.done).toBe(numWindows * whole.done);
  expect(windowed.data.every(Number.isFinite)).toBe(true);
});

test.each<CacheOptions>([...skipping, { kind: "pab", from: -1, to: 1000 }])(
  "frames that lie in one window alone are what they would be without the others: $kind",
  async (cache) => {
    const long = await make({ frames: 25, longVideo: { window: { frames: 9, overlap: 0 } }, cache });
    const size = long.data.length / 7;
    const noise = drawNormals(createRng(base.seed), 7 * size).slice(0, 3 * size);
    const latents: HostTensor = { dtype: "f32", shape: [1, 3, ...long.shape.slice(2)], data: noise };
    const alone = await make({ frames: 9, latents, cache });
    expect(long.data.slice(0, 3 * size)).toBeCloseToArray(alone.data, { atol: 1e-6 });
  },
);

test("a run with both goes on from what was saved of every window, to the same bits", async () => {
  const cache: CacheOptions = { kind: "taylorseer", interval: 3, warmup: 2, part: "attention" };
  let going: Partial<GenerateOptions> = {};
  const whole = await make({ ...overlapping, cache }, async ({ step, state, cache: kept }) => {
    if (step !== 4) return;
    const cacheState = structuredClone(await kept!.save()) as CacheState;
    going = { resume: structuredClone(state), cacheState };
  });
  expect(going.cacheState?.windows.map(({ step }) => step)).toEqual(Array(numWindows).fill(3));
  const resumed = await make({ ...overlapping, cache, ...going });
  expect(resumed.data).toEqual(whole.data);
  const without = await make({ ...overlapping, cache, resume: going.resume });
  expect(without.data).not.toEqual(whole.data);
});
