/** @file Plans of runs, and what is chosen where memory is short. */
import { describe, expect, test } from "vitest";
import { t5Xxl, transformer2b, vae } from "../../cli/bench/official-configs.ts";
import { parseT5Config } from "../../models/t5/config.ts";
import { parseTransformerConfig } from "../../models/transformer/config.ts";
import { parseVaeConfig } from "../../models/vae/config.ts";
import { fitRun, memoryOf } from "./fit.ts";
import type { PlannedModels } from "./models.ts";
import { type PlanRequest, planRun, secondsFor } from "./run-plan.ts";

/** CogVideoX-2B with rotary positions, without weights. */
const models: PlannedModels = {
  transformer: { config: parseTransformerConfig(transformer2b, "config.json"), weights: null },
  vae: { config: parseVaeConfig(vae, "config.json"), weights: null },
  textEncoder: { config: parseT5Config(t5Xxl, "config.json"), weights: null },
};

const request: PlanRequest = {
  source: "prompt",
  size: { width: 720, height: 480, frames: 17 },
  clips: 1,
  texts: 2,
  tiling: false,
  options: { steps: 4 },
};

const stage = (name: string, change: Partial<PlanRequest> = {}) => {
  const found = planRun(models, { ...request, ...change }).stages.find((each) => each.stage === name);
  if (found === undefined) throw new Error(`the plan has no stage ${name}`);
  return found;
};

describe("a plan", () => {
  test("has the stages of its mode in order", () => {
    const stagesOf = (source: PlanRequest["source"]) =>
      planRun(models, { ...request, source }).stages.map((each) => each.stage);
    expect(stagesOf("prompt")).toEqual(["text", "denoise", "decode"]);
    expect(stagesOf("video")).toEqual(["encode", "text", "denoise", "decode"]);
    expect(stagesOf("latents")).toEqual(["decode"]);
  });

  test("counts the transformer's operations as its layers have them", () => {
    const { width: D, layers } = models.transformer.config;
    const N = 226 + (5 * 60 * 90) / 4;
    const { work } = stage("denoise");
    const linear = 4 * 2 * layers * 24 * D ** 2 * N;
    expect(work.attention).toBe(4 * 2 * layers * 4 * N ** 2 * D);
    expect(work.products / linear).toBeGreaterThan(1);
    expect(work.products / linear).toBeLessThan(1.05);
  });

  test("evaluates half as much without guidance, and in steps outside its interval", () => {
    const products = (options: PlanRequest["options"]) => stage("denoise", { options }).work.attention;
    const guided = products({ steps: 4 });
    expect(products({ steps: 4, guidance: 1 })).toBe(guided / 2);
    expect(products({ steps: 4, guidanceInterval: [0, 0.5] })).toBeLessThan(guided);
    const { transformer } = models;
    const unguided = {
      ...models,
      transformer: { ...transformer, config: { ...transformer.config, guidance: 1 } },
    };
    const [, denoise] = planRun(unguided, request).stages;
    expect(denoise.work.attention).toBe(guided / 2);
  });

  test("maps a quarter of a byte-wide matrix's floats, and keeps the engine's copy of it", () => {
    const [plain, bytes] = [stage("denoise"), stage("denoise", { precision: "int8" })];
    expect(bytes.mapped).toBeLessThan(0.65 * plain.mapped);
    expect(bytes.memory).toBeGreaterThan(plain.memory + 2 ** 30);
    expect(bytes.work.byteProducts).toBeGreaterThan(10 * bytes.work.products);
  });

  test("maps matrices of float16 as they are, and counts what a processor makes of them", () => {
    const [plain, halves] = [stage("denoise"), stage("denoise", { precision: "fp16" })];
    expect(halves.mapped).toBe(plain.mapped);
    expect(halves.memory).toBeGreaterThan(plain.memory);
    expect(halves.work.products).toBe(plain.work.products);
    expect(halves.work.attention).toBe(plain.work.attention);
  });

  test("keeps what a feature cache keeps", () => {
    const cached = stage("denoise", { options: { steps: 4, cache: { kind: "pab" } } });
    expect(cached.memory).toBeGreaterThan(1.5 * stage("denoise").memory);
  });

  test("decodes in memory that does not grow with the clip", () => {
    const decode = (frames: number) => stage("decode", { size: { ...request.size, frames } });
    expect(decode(49).memory).toBe(decode(33).memory);
    expect(decode(49).work.convolutions).toBeGreaterThan(1.4 * decode(33).work.convolutions);
  });

  test("takes less memory in tiles, and more work", () => {
    const [whole, tiled] = [stage("decode"), stage("decode", { tiling: true })];
    expect(tiled.memory).toBeLessThan(0.8 * whole.memory);
    expect(tiled.work.convolutions).toBeGreaterThan(whole.work.convolutions);
  });

  test("adds up seconds of every kind of work", () => {
    const work = { products: 10, byteProducts: 0, convolutions: 6, attention: 4, moved: 8 };
    const rates = { products: 5, byteProducts: 1, convolutions: 3, attention: 4, moved: 2 };
    expect(secondsFor(work, rates)).toBe(2 + 2 + 1 + 4);
  });
});

describe("where memory is short", () => {
  const short = { ...request, size: { ...request.size, frames: 9 } };
  const needed = memoryOf(planRun(models, short));
  const tiled = memoryOf(planRun(models, { ...short, tiling: true }));

  test("a run that fits stays as it was asked for", () => {
    const fitting = fitRun(models, short, { room: needed, mayTile: true });
    expect(fitting).toMatchObject({ fits: true, choseTiling: false, plan: { request: short } });
  });

  test("tiling is chosen where it does, and only offered where it may not be chosen", () => {
    const room = needed - 1;
    expect(fitRun(models, short, { room, mayTile: true })).toMatchObject({
      fits: true,
      choseTiling: true,
      plan: { request: { ...short, tiling: true } },
    });
    expect(fitRun(models, short, { room, mayTile: false })).toMatchObject({
      fits: false,
      plan: { request: short },
      nearest: { request: { ...short, tiling: true } },
    });
  });

  test("the nearest clip that fits has fewer frames or smaller pictures", () => {
    const fitting = fitRun(models, short, { room: tiled - 1, mayTile: true });
    if (fitting.fits || fitting.nearest === null) throw new Error("expected a smaller clip");
    const { size } = fitting.nearest.request;
    expect(memoryOf(fitting.nearest)).toBeLessThan(tiled);
    expect(size.frames * size.width * size.height).toBeLessThan(9 * 720 * 480);
  });

  test("nothing fits into nothing", () => {
    expect(fitRun(models, short, { room: 0, mayTile: true })).toMatchObject({ fits: false, nearest: null });
  });

  test("however much too large a clip is, one that fits is found", () => {
    const size = { width: 32_000, height: 16_000, frames: 1 };
    const fitting = fitRun(models, { ...request, size }, { room: needed, mayTile: true });
    if (fitting.fits || fitting.nearest === null) throw new Error("expected a smaller clip");
    expect(memoryOf(fitting.nearest)).toBeLessThanOrEqual(needed);
    expect(fitting.nearest.request.size.width).toBeLessThan(8_000);
  });
});
