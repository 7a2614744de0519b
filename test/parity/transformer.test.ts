/** @file The transformer against outputs of the reference, for every released variant at toy size. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseTransformerConfig } from "../../src/models/transformer/config.ts";
import { transformerSegments } from "../../src/models/transformer/transformer.ts";
import { Denoiser } from "../../src/pipeline/denoiser.ts";
import { Engine } from "../../src/runtime/engine.ts";
import { declaredShapes } from "../../src/runtime/mapped-weights.ts";
import { hashCheckpoint } from "../helpers/hash-checkpoint.ts";
import { hashInput } from "../helpers/hash-fill.ts";
import { toyTransformer } from "../helpers/toy-transformer.ts";

const golden = JSON.parse(readFileSync("test/fixtures/golden/transformer.json", "utf8"));

const base = toyTransformer;
const rotary = { ...base, use_rotary_positional_embeddings: true };
const learned = { ...rotary, in_channels: 8, use_learned_positional_embeddings: true };
const temporal = { ...rotary, patch_size_t: 2 };

const cases = {
  T1_sincos_base: { config: base, latents: [2, 3, 4, 6, 8] },
  T1_sincos_other: { config: base, latents: [2, 1, 4, 8, 6] },
  T2_rope10_base: { config: rotary, latents: [2, 3, 4, 6, 8] },
  T2_rope10_other: { config: rotary, latents: [2, 2, 4, 8, 12] },
  T3_learned_i2v: { config: learned, latents: [2, 3, 8, 6, 8] },
  T4_v15: { config: temporal, latents: [2, 4, 4, 6, 8] },
  T5_v15_i2v_ofs: { config: { ...temporal, in_channels: 8, ofs_embed_dim: 8 }, latents: [2, 4, 8, 6, 8] },
};

let engine: Engine;
beforeAll(() => {
  engine = new Engine();
});
afterAll(() => engine.close());

describe.each(Object.entries(cases))("%s", (name, { config: json, latents: shape }) => {
  test("predicts what the reference predicts", async () => {
    const config = parseTransformerConfig(json, "config.json");
    const [batch, frames, , height, width] = shape;
    const call = { batch, frames, height, width, textLength: 5 };
    const added = config.learnedPositions ? "learned" : config.rotary ? "none" : "rows";
    const { embed, blocks, head } = transformerSegments(config, { ...call, added });
    const weights = await hashCheckpoint(declaredShapes([embed, ...blocks, head]));
    const denoiser = new Denoiser(engine, config, weights, call);
    const sample = await denoiser.predict({
      latents: { dtype: "f32", shape, data: hashInput(shape, 1000) },
      text: { dtype: "f32", shape: [2, 5, 12], data: hashInput([2, 5, 12], 1001) },
      timestep: [999, 500],
      ofs: [2, 2],
    });
    expect(sample.shape).toEqual(golden[name].shape);
    expect(sample.data).toBeCloseToArray(golden[name].data, { atol: 1e-5 });
    await denoiser.close();
  });
});
