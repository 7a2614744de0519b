/** @file The VAE against outputs of the reference, chunked, tiled and whole. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseVaeConfig } from "../../src/models/vae/config.ts";
import { vaeShapes } from "../../src/pipeline/vae-chunks.ts";
import { VideoDecoder } from "../../src/pipeline/video-decoder.ts";
import { VideoEncoder } from "../../src/pipeline/video-encoder.ts";
import { Engine } from "../../src/runtime/engine.ts";
import type { HostTensor } from "../../src/runtime/protocol.ts";
import type { WeightSet } from "../../src/weights/checkpoint.ts";
import { hashCheckpoint } from "../helpers/hash-checkpoint.ts";
import { hashInput } from "../helpers/hash-fill.ts";
import { toyVae } from "../helpers/toy-vae.ts";

const golden = JSON.parse(readFileSync("test/fixtures/golden/vae.json", "utf8"));
const config = parseVaeConfig(toyVae, "config.json");
const tiling = { tileHeight: 48, tileWidth: 48, overlapHeight: 1 / 6, overlapWidth: 1 / 6 };

let engine: Engine;
let weights: WeightSet;
beforeAll(async () => {
  engine = new Engine();
  weights = await hashCheckpoint(vaeShapes(config));
});
afterAll(() => engine.close());

const tensor = (shape: number[], key: number, scale: number): HostTensor => ({
  dtype: "f32",
  shape,
  data: hashInput(shape, key, scale),
});

function expectGolden(result: HostTensor, name: string): void {
  expect(result.shape).toEqual(golden[name].shape);
  const { data, first, last } = golden[name];
  if (data) expect(result.data as Float32Array).toBeCloseToArray(data, { atol: 2e-5 });
  else {
    const values = Array.from(result.data as Float32Array);
    expect(values.slice(0, first.length)).toBeCloseToArray(first, { atol: 2e-5 });
    expect(values.slice(-last.length)).toBeCloseToArray(last, { atol: 2e-5 });
    const mean = values.reduce((sum, x) => sum + Math.abs(x), 0) / values.length;
    expect(mean).toBeCloseTo(golden[name].absmean, 5);
  }
}

test.each([1, 8, 9, 17])("encodes %i frames as the reference does", async (frames) => {
  const encoder = new VideoEncoder(engine, config, weights);
  expectGolden(await encoder.encode(tensor([1, 3, frames, 16, 24], 1002, 2)), `V_enc_T${frames}`);
});

test.each([1, 2, 3, 5])("decodes %i latent frames as the reference does", async (frames) => {
  const decoder = new VideoDecoder(engine, config, weights);
  expectGolden(await decoder.decode(tensor([1, 4, frames, 2, 3], 1003, 2)), `V_dec_T${frames}`);
});

test("decodes in tiles as the reference does", async () => {
  const decoder = new VideoDecoder(engine, config, weights, { tiling });
  expectGolden(await decoder.decode(tensor([1, 4, 3, 8, 9], 1003, 2)), "V_tiled_dec");
});

test("encodes in tiles as the reference does", async () => {
  const encoder = new VideoEncoder(engine, config, weights, { tiling });
  expectGolden(await encoder.encode(tensor([1, 3, 9, 64, 72], 1002, 2)), "V_tiled_enc");
});

test("decodes the same clip whole", async () => {
  const decoder = new VideoDecoder(engine, config, weights);
  expectGolden(await decoder.decode(tensor([1, 4, 3, 8, 9], 1003, 2)), "V_untiled_dec");
});
