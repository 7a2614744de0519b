/** @file `cogvideox forward` against outputs of the reference: every single model of the golden cases, from files to files. */
import { readdirSync, readFileSync } from "node:fs";
import { cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parseT5Config } from "../../src/models/t5/config.ts";
import { t5Segments } from "../../src/models/t5/encoder.ts";
import { parseTransformerConfig } from "../../src/models/transformer/config.ts";
import { transformerSegments } from "../../src/models/transformer/transformer.ts";
import { parseVaeConfig } from "../../src/models/vae/config.ts";
import { vaeShapes } from "../../src/pipeline/vae-chunks.ts";
import { declaredShapes } from "../../src/runtime/mapped-weights.ts";
import { readFloats } from "../../src/weights/read.ts";
import { type TensorData, writeSafetensors } from "../../src/weights/write.ts";
import { cogvideox, jsonLines, temporaryFolder } from "../helpers/command-line.ts";
import { hashCheckpoint } from "../helpers/hash-checkpoint.ts";
import { hashInput } from "../helpers/hash-fill.ts";
import { report, stored, worst } from "../helpers/recorded-case.ts";
import { toyTransformer } from "../helpers/toy-transformer.ts";
import { toyVae } from "../helpers/toy-vae.ts";

type Golden = { shape: number[]; data?: number[]; first?: number[]; last?: number[]; absmean?: number };

const goldens = (name: string): Record<string, Golden> =>
  JSON.parse(readFileSync(`test/fixtures/golden/${name}.json`, "utf8"));
const golden = { ...goldens("transformer"), ...goldens("vae"), ...goldens("t5") };

const rotary = { ...toyTransformer, use_rotary_positional_embeddings: true };
const temporal = { ...rotary, patch_size_t: 2 };

const floats = (shape: number[], key: number, scale = 4): TensorData => ({
  dtype: "F32",
  shape,
  data: hashInput(shape, key, scale),
});

describe("transformer", () => {
  test.each([
    ["T1_sincos_base", toyTransformer, [2, 3, 4, 6, 8]],
    ["T1_sincos_other", toyTransformer, [2, 1, 4, 8, 6]],
    ["T2_rope10_base", rotary, [2, 3, 4, 6, 8]],
    ["T2_rope10_other", rotary, [2, 2, 4, 8, 12]],
    [
      "T3_learned_i2v",
      { ...rotary, in_channels: 8, use_learned_positional_embeddings: true },
      [2, 3, 8, 6, 8],
    ],
    ["T4_v15", temporal, [2, 4, 4, 6, 8]],
    ["T5_v15_i2v_ofs", { ...temporal, in_channels: 8, ofs_embed_dim: 8 }, [2, 4, 8, 6, 8]],
  ])("%s", async (name, json, shape) => {
    const config = parseTransformerConfig(json, "config.json");
    const [batch, frames, , height, width] = shape;
    const added = config.learnedPositions ? "learned" : config.rotary ? "none" : "rows";
    const call = { batch, frames, height, width, textLength: 5, added } as const;
    const { embed, blocks, head } = transformerSegments(config, call);
    const folder = await checkpointOf("transformer", json, declaredShapes([embed, ...blocks, head]));
    await hold(name, "sample", ["transformer", "--model", folder], {
      hidden_states: floats(shape, 1000),
      encoder_hidden_states: floats([2, 5, 12], 1001),
      timestep: { dtype: "I64", shape: [2], data: BigInt64Array.of(999n, 500n) },
      ...(config.ofsDim !== null ? { ofs: { dtype: "F32", shape: [1], data: Float32Array.of(2) } } : {}),
    });
  });
});

describe("VAE", () => {
  const folder = () => checkpointOf("vae", toyVae, vaeShapes(parseVaeConfig(toyVae, "config.json")));

  test.each([1, 8, 9, 17])("V_enc_T%i", async (frames) => {
    const sample = floats([1, 3, frames, 16, 24], 1002, 2);
    await hold(`V_enc_T${frames}`, "moments", ["vae-encode", "--model", await folder()], { sample });
  });

  test.each([
    ["V_dec_T1", [1, 4, 1, 2, 3]],
    ["V_dec_T2", [1, 4, 2, 2, 3]],
    ["V_dec_T3", [1, 4, 3, 2, 3]],
    ["V_dec_T5", [1, 4, 5, 2, 3]],
    ["V_untiled_dec", [1, 4, 3, 8, 9]],
  ])("%s", async (name, shape) => {
    const latents = floats(shape, 1003, 2);
    await hold(name, "sample", ["vae-decode", "--model", await folder()], { latents });
  });
});

test("T5_enc", async () => {
  const json = {
    ...{ vocab_size: 64, d_model: 12, d_kv: 4, d_ff: 20, num_layers: 2, num_heads: 3 },
    feed_forward_proj: "gated-gelu",
  };
  const { embed, layers, norm } = t5Segments(parseT5Config(json, "config.json"), 1, 10);
  // The reference's list of keys names the tied table twice; the later name's values win.
  const shapes = declaredShapes([embed, ...layers, norm]).set("encoder.embed_tokens.weight", [64, 12]);
  const ids = BigInt64Array.of(5n, 9n, 33n, 2n, 61n, 1n, 0n, 0n, 0n, 0n);
  const args = ["text-encoder", "--model", await checkpointOf("text_encoder", json, shapes)];
  await hold("T5_enc", "last_hidden_state", args, { input_ids: { dtype: "I64", shape: [1, 10], data: ids } });
});

describe("inputs that do not fit are refused in a sentence:", () => {
  const folder = () => checkpointOf("vae", toyVae, vaeShapes(parseVaeConfig(toyVae, "config.json")));
  test.each<[string, string, TensorData, RegExp]>([
    [
      "vae-encode",
      "sample",
      { dtype: "U8", shape: [1, 3, 1, 8, 8], data: new Uint8Array(192) },
      /holds integers/,
    ],
    ["vae-encode", "sample", floats([3, 8, 8], 1), /must have 5 axes, got \[3, 8, 8\]/],
    ["vae-encode", "sample", floats([1, 3, 1, 4, 4], 1), /sides that are multiples of 8, got \[1, 3, 4, 4\]/],
    ["vae-decode", "latents", floats([1, 4, 0, 2, 2], 1), /must be \[F, 4, h, w\], got \[0, 4, 2, 2\]/],
    ["vae-decode", "sample", floats([1, 4, 1, 2, 2], 1), /latents is missing; --inputs has sample/],
  ])("%s of %s", async (model, name, tensor, says) => {
    const out = temporaryFolder();
    const [from, to] = [join(out, "in.safetensors"), join(out, "out.safetensors")];
    await writeSafetensors(from, { [name]: tensor });
    const args = [model, "--model", await folder(), "--inputs", from, "-o", to];
    const ended = await cogvideox(["forward", ...args]);
    expect(ended.stderr).toMatch(says);
    expect(ended.stderr).not.toMatch(/\n {4}at /);
    expect(readdirSync(out)).toEqual(["in.safetensors"]);
  });
});

/** Runs the command on these inputs and holds its output to a golden case. */
async function hold(
  name: string,
  output: string,
  args: readonly string[],
  inputs: Readonly<Record<string, TensorData>>,
): Promise<void> {
  const out = temporaryFolder();
  const [from, to] = [join(out, "in.safetensors"), join(out, "out.safetensors")];
  await writeSafetensors(from, inputs);
  const ended = await cogvideox(["forward", ...args, "--inputs", from, "-o", to, "--json"]);
  expect(ended).toMatchObject({ status: 0 });
  expect(jsonLines(ended)).toMatchObject([
    { event: "done", seconds: expect.any(Number), peakRssMiB: expect.any(Number) },
  ]);
  const result = await stored(to, output);
  expect(result.shape).toEqual(golden[name].shape);
  const values = await readFloats(result);
  const { data, first = [], last = [], absmean = 0 } = golden[name];
  if (data) return report(`forward ${name}`, worst(values, Float32Array.from(data)));
  const ends = [...values.subarray(0, first.length), ...values.subarray(values.length - last.length)];
  report(
    `forward ${name}, both ends`,
    worst(Float32Array.from(ends), Float32Array.from([...first, ...last])),
  );
  expect(values.reduce((sum, x) => sum + Math.abs(x), 0) / values.length).toBeCloseTo(absmean, 5);
}

/** A checkpoint folder with nothing but one model of hash-filled weights. */
async function checkpointOf(
  name: "transformer" | "vae" | "text_encoder",
  config: object,
  shapes: ReadonlyMap<string, readonly number[]>,
): Promise<string> {
  const folder = temporaryFolder();
  const weights = await hashCheckpoint(shapes);
  await mkdir(join(folder, name));
  await cp(weights.folder, join(folder, name), { recursive: true });
  await writeFile(join(folder, name, "config.json"), JSON.stringify(config));
  await writeFile(join(folder, "model_index.json"), JSON.stringify({ _class_name: "CogVideoXPipeline" }));
  return folder;
}
