/** @file The tables of names, used both ways on the key lists of the released models. */
import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { transformerConfigs } from "../../../test/helpers/released-models.ts";
import { recorded } from "../../../test/helpers/tiny-checkpoint.ts";
import { parseTransformerConfig } from "../../models/transformer/config.ts";
import { positionsFor } from "../../models/transformer/positions/positions.ts";
import { transformerSegments } from "../../models/transformer/transformer.ts";
import { declaredShapes } from "../../runtime/mapped-weights.ts";
import { openWeights } from "../checkpoint.ts";
import { readBytes, readFloats } from "../read.ts";
import { readHeader, type StoredTensor } from "../safetensors.ts";
import { type TensorData, writeSafetensors } from "../write.ts";
import { planConversion } from "./plan.ts";
import { openSource, recognize } from "./source.ts";
import { type Component, type Layout, tables } from "./table.ts";
import { writePlan } from "./write-plan.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cogvideox-convert-"));
});
afterAll(() => rm(folder, { recursive: true }));

type Tensors = ReadonlyMap<string, StoredTensor>;

/** Plans, writes and opens again. */
async function convert(tensors: Tensors, component: Component, from: Layout, to: Layout): Promise<Tensors> {
  const plan = planConversion(tensors, component, from, to);
  expect({ unmatched: plan.unmatched, missing: plan.missing }).toEqual({ unmatched: [], missing: [] });
  const file = join(folder, `${component}-${to}-${Math.random()}.safetensors`);
  await writePlan(file, plan.tensors);
  return (await readHeader(file)).tensors;
}

/** Type, shape and a digest of the bytes of every tensor, by name. */
async function contents(tensors: Tensors): Promise<Record<string, string>> {
  const entries = [...tensors.values()].map(async (tensor) => {
    const digest = createHash("sha256")
      .update(await readBytes(tensor))
      .digest("hex");
    return [tensor.name, `${tensor.dtype} [${tensor.shape}] ${digest}`] as const;
  });
  return Object.fromEntries((await Promise.all(entries)).sort());
}

async function write(tensors: Record<string, TensorData>): Promise<Tensors> {
  const file = join(folder, `${Math.random()}.safetensors`);
  await writeSafetensors(file, tensors);
  return (await readHeader(file)).tensors;
}

const f32 = (shape: readonly number[], data: readonly number[]): TensorData => ({
  dtype: "F32",
  shape,
  data: Float32Array.from(data),
});

describe.each([
  ["t2v-rope", "transformer"],
  ["t2v-patch-t", "transformer"],
  ["t2v-sincos", "transformer"],
  ["t2v-rope", "vae"],
] as const)("%s, the %s", (name, component) => {
  test("goes to SAT's names and comes back as it was", async () => {
    const { tensors } = await openWeights(join(recorded(name), component));
    const sat = await convert(tensors, component, "diffusers", "sat");
    expect(recognize({ path: "", tensors: sat, metadata: {} })).toMatchObject({ component, layout: "sat" });
    const back = await convert(sat, component, "sat", "diffusers");
    expect(await contents(back)).toEqual(await contents(tensors));
  });
});

/** The tensors that a released transformer declares, of the right shapes and without data. */
function declared(json: object): Tensors {
  const config = parseTransformerConfig(json, "config.json");
  const size = { frames: config.patchT === null ? 13 : 14, height: 60, width: 90 };
  const positions = positionsFor(config, size, config.maxTextLength);
  const call = { ...size, batch: 1, textLength: config.maxTextLength, added: positions.added.kind };
  const { embed, blocks, head } = transformerSegments(config, call);
  const shapes = [...declaredShapes([embed, ...blocks, head])];
  const place = { dtype: "BF16" as const, file: "none", offset: 0 };
  const bytes = (shape: readonly number[]) => 2 * shape.reduce((a, b) => a * b, 1);
  return new Map(shapes.map(([name, shape]) => [name, { ...place, name, shape, byteLength: bytes(shape) }]));
}

test.each([
  ["2b", 736],
  ["5b", 1024],
  ["5b-I2V", 1025],
  ["1.5-5B", 1024],
  ["1.5-5B-I2V", 1028],
] as const)("all keys of CogVideoX %s have a place in SAT and come back: %i", (name, count) => {
  const tensors = declared(transformerConfigs[name]);
  expect(tensors.size).toBe(count);
  const there = planConversion(tensors, "transformer", "diffusers", "sat");
  expect(there).toMatchObject({ unmatched: [], missing: [], dropped: [] });
  const sat = new Map(
    there.tensors.map(({ name, dtype, shape }) => [
      name,
      { name, dtype, shape, file: "sat", offset: 0, byteLength: 2 * shape.reduce((a, b) => a * b, 1) },
    ]),
  );
  const back = planConversion(sat, "transformer", "sat", "diffusers");
  expect(back).toMatchObject({ unmatched: [], missing: [], dropped: [] });
  const shapes = (list: Iterable<{ readonly name: string; readonly shape: readonly number[] }>) =>
    [...list].map((tensor) => `${tensor.name} ${tensor.shape}`).sort();
  expect(shapes(back.tensors)).toEqual(shapes(tensors.values()));
});

test("the keys of SAT are these", async () => {
  const { tensors } = await openWeights(join(recorded("t2v-rope"), "transformer"));
  const { tensors: sat } = planConversion(tensors, "transformer", "diffusers", "sat");
  const short = sat.map(({ name }) => name.replace(/^model\.diffusion_model\./, ""));
  expect(
    short.filter((name) => !/\.[12]\./.test(name.replace(/\.[12]\.(weight|bias)$/, ""))).sort(),
  ).toMatchInlineSnapshot(`
    [
      "mixins.adaln_layer.adaLN_modulations.0.1.bias",
      "mixins.adaln_layer.adaLN_modulations.0.1.weight",
      "mixins.adaln_layer.adaLN_modulations.1.1.bias",
      "mixins.adaln_layer.adaLN_modulations.1.1.weight",
      "mixins.adaln_layer.adaLN_modulations.2.1.bias",
      "mixins.adaln_layer.adaLN_modulations.2.1.weight",
      "mixins.adaln_layer.key_layernorm_list.0.bias",
      "mixins.adaln_layer.key_layernorm_list.0.weight",
      "mixins.adaln_layer.key_layernorm_list.1.bias",
      "mixins.adaln_layer.key_layernorm_list.1.weight",
      "mixins.adaln_layer.key_layernorm_list.2.bias",
      "mixins.adaln_layer.key_layernorm_list.2.weight",
      "mixins.adaln_layer.query_layernorm_list.0.bias",
      "mixins.adaln_layer.query_layernorm_list.0.weight",
      "mixins.adaln_layer.query_layernorm_list.1.bias",
      "mixins.adaln_layer.query_layernorm_list.1.weight",
      "mixins.adaln_layer.query_layernorm_list.2.bias",
      "mixins.adaln_layer.query_layernorm_list.2.weight",
      "mixins.final_layer.adaLN_modulation.1.bias",
      "mixins.final_layer.adaLN_modulation.1.weight",
      "mixins.final_layer.linear.bias",
      "mixins.final_layer.linear.weight",
      "mixins.final_layer.norm_final.bias",
      "mixins.final_layer.norm_final.weight",
      "mixins.patch_embed.proj.bias",
      "mixins.patch_embed.proj.weight",
      "mixins.patch_embed.text_proj.bias",
      "mixins.patch_embed.text_proj.weight",
      "time_embed.0.bias",
      "time_embed.0.weight",
      "time_embed.2.bias",
      "time_embed.2.weight",
      "transformer.final_layernorm.bias",
      "transformer.final_layernorm.weight",
      "transformer.layers.0.attention.dense.bias",
      "transformer.layers.0.attention.dense.weight",
      "transformer.layers.0.attention.query_key_value.bias",
      "transformer.layers.0.attention.query_key_value.weight",
      "transformer.layers.0.input_layernorm.bias",
      "transformer.layers.0.input_layernorm.weight",
      "transformer.layers.0.mlp.dense_4h_to_h.bias",
      "transformer.layers.0.mlp.dense_4h_to_h.weight",
      "transformer.layers.0.mlp.dense_h_to_4h.bias",
      "transformer.layers.0.mlp.dense_h_to_4h.weight",
      "transformer.layers.0.post_attention_layernorm.bias",
      "transformer.layers.0.post_attention_layernorm.weight",
    ]
  `);
});

test("the keys of SAT's VAE count levels of the decoder from the finest", async () => {
  const { tensors } = await openWeights(join(recorded("t2v-rope"), "vae"));
  const { tensors: sat } = planConversion(tensors, "vae", "diffusers", "sat");
  const names = sat.map(({ name }) => name);
  // Coarse levels have 32 channels here, the finest 16; only the finest is not followed by an upsampling.
  const shapeOf = (name: string) => sat.find((tensor) => tensor.name === name)?.shape;
  expect(shapeOf("decoder.up.3.block.0.conv1.conv.weight")).toEqual([32, 32, 3, 3, 3]);
  expect(shapeOf("decoder.up.0.block.1.conv1.conv.weight")).toEqual([16, 16, 3, 3, 3]);
  expect(shapeOf("decoder.up.1.block.0.nin_shortcut.weight")).toEqual([16, 32, 1, 1, 1]);
  expect(names.filter((name) => name.endsWith("upsample.conv.weight")).sort()).toEqual(
    [1, 2, 3].map((level) => `decoder.up.${level}.upsample.conv.weight`),
  );
});

test("twelve parts of a modulation are dealt out to attention and feed-forward", async () => {
  const parts = Array.from({ length: 12 }, (_, i) => i);
  const sat = await write({
    "model.diffusion_model.mixins.adaln_layer.adaLN_modulations.0.1.bias": f32([12], parts),
  });
  const { tensors } = planConversion(sat, "transformer", "sat", "diffusers");
  const file = join(folder, "modulation.safetensors");
  await writePlan(file, tensors);
  const { tensors: made } = await readHeader(file);
  expect([...(await readFloats(made.get("transformer_blocks.0.norm1.linear.bias")!))]).toEqual([
    0, 1, 2, 6, 7, 8,
  ]);
  expect([...(await readFloats(made.get("transformer_blocks.0.norm2.linear.bias")!))]).toEqual([
    3, 4, 5, 9, 10, 11,
  ]);
});

test("a projection of query, key and value is cut into its rows", async () => {
  const sat = await write({
    "transformer.layers.0.attention.query_key_value.weight": f32([6, 1], [1, 2, 3, 4, 5, 6]),
  });
  const { tensors } = planConversion(sat, "transformer", "sat", "diffusers");
  expect(tensors.map(({ name, shape, pieces: [{ start, end }] }) => [name, shape, start, end])).toEqual([
    ["transformer_blocks.0.attn1.to_q.weight", [2, 1], 0, 8],
    ["transformer_blocks.0.attn1.to_k.weight", [2, 1], 8, 16],
    ["transformer_blocks.0.attn1.to_v.weight", [2, 1], 16, 24],
  ]);
});

describe("a plan", () => {
  test("lists what it leaves out and why, what it does not know, and what is missing", async () => {
    const one = f32([1], [0]);
    const { tensors } = await openWeights(join(recorded("t2v-rope"), "transformer"));
    const sat = planConversion(tensors, "transformer", "diffusers", "sat");
    const all = Object.fromEntries(sat.tensors.map(({ name }) => [name, f32([12, 1], Array(12).fill(0))]));
    delete all["model.diffusion_model.transformer.layers.1.mlp.dense_4h_to_h.bias"];
    const plan = planConversion(
      await write({
        ...all,
        "model.diffusion_model.mixins.pos_embed.freqs_cos": one,
        "model.diffusion_model.transformer.layers.0.attention.dense.matrix_A.0": one,
        "model.diffusion_model.something.new": one,
      }),
      "transformer",
      "sat",
      "diffusers",
    );
    expect(plan.dropped).toEqual([
      { name: "model.diffusion_model.mixins.pos_embed.freqs_cos", why: "rotary tables are computed" },
      {
        name: "model.diffusion_model.transformer.layers.0.attention.dense.matrix_A.0",
        why: "a LoRA beside the weights; --component lora converts it",
      },
    ]);
    expect(plan.unmatched).toEqual(["model.diffusion_model.something.new"]);
    expect(plan.missing).toEqual(["transformer_blocks.1.ff.net.2.bias"]);
  });

  test("misses the layers before the last one", async () => {
    const sat = await write({ "transformer.layers.2.input_layernorm.weight": f32([1], [0]) });
    const { missing } = planConversion(sat, "transformer", "sat", "diffusers");
    expect(missing).toContain("transformer_blocks.0.norm1.norm.weight");
    expect(missing).toContain("transformer_blocks.1.attn1.to_q.bias");
    expect(missing).not.toContain("transformer_blocks.2.norm1.norm.weight");
    expect(missing).not.toContain("ofs_embedding.linear_1.weight");
  });

  test("does not put a tensor together from a part of it", async () => {
    const only = await write({ "transformer_blocks.0.attn1.to_q.weight": f32([1, 1], [0]) });
    const plan = planConversion(only, "transformer", "diffusers", "sat");
    expect(plan.tensors).toEqual([]);
    expect(plan.missing).toContain(
      "model.diffusion_model.transformer.layers.0.attention.query_key_value.weight",
    );
  });

  test("refuses rows that do not divide", async () => {
    const odd = await write({
      "transformer.layers.0.attention.query_key_value.weight": f32([4, 1], [0, 0, 0, 0]),
    });
    expect(() => planConversion(odd, "transformer", "sat", "diffusers")).toThrow(
      "does not divide into the 3 parts",
    );
  });

  test("finds the weights of a layer under its LoRA", async () => {
    const wrapped = await write({
      "model.diffusion_model.transformer.layers.0.attention.dense.original.bias": f32([1], [0]),
    });
    const { tensors } = planConversion(wrapped, "transformer", "sat", "diffusers");
    expect(tensors.map(({ name }) => name)).toEqual(["transformer_blocks.0.attn1.to_out.0.bias"]);
  });
});

describe("a LoRA of SAT", () => {
  test.each([1, 30, 42])("of %i layers becomes one of diffusers and comes back", async (layers) => {
    const one = f32([1, 1], [1]);
    const names = Array.from({ length: layers }, (_, i) =>
      ["A", "B"].flatMap((side) => [
        ...[0, 1, 2].map((k) => `transformer.layers.${i}.attention.query_key_value.matrix_${side}.${k}`),
        `transformer.layers.${i}.attention.dense.matrix_${side}.0`,
      ]),
    ).flat();
    const sat = await write(Object.fromEntries(names.map((name) => [`model.diffusion_model.${name}`, one])));
    const there = await convert(sat, "lora", "sat", "diffusers");
    expect(there.size).toBe(8 * layers);
    expect([...there.keys()]).toContain("transformer.transformer_blocks.0.attn1.to_out.0.lora_B.weight");
    const back = await convert(there, "lora", "diffusers", "sat");
    expect([...back.keys()].sort()).toEqual([...sat.keys()].sort());
  });
});

describe("writing", () => {
  test("widens, narrows and refuses what float16 does not reach", async () => {
    const tensors = await write({ "norm_final.weight": f32([2], [1.0009765625, 7e4]) });
    const plan = planConversion(tensors, "transformer", "diffusers", "diffusers");
    const file = join(folder, "narrow.safetensors");
    await writePlan(file, plan.tensors, { dtype: "BF16" });
    const { tensors: made } = await readHeader(file);
    expect(made.get("norm_final.weight")).toMatchObject({ dtype: "BF16", shape: [2] });
    expect([...(await readFloats(made.get("norm_final.weight")!))]).toEqual([1, 70144]);
    await expect(writePlan(file, plan.tensors, { dtype: "F16" })).rejects.toThrow("float16 does not reach");
    expect((await readHeader(file)).tensors.size).toBe(1);
  });
});

test("every name of a table is there once", () => {
  for (const { rows } of Object.values(tables)) {
    const names = rows.map(({ diffusers }) => diffusers);
    expect(new Set(names).size).toBe(names.length);
    const whole = rows.filter((row) => row.rows === undefined).map(({ sat }) => sat);
    expect(new Set(whole).size).toBe(whole.length);
  }
});

test("parts of one SAT tensor are each taken once", () => {
  const taken = new Map<string, number[]>();
  for (const { sat, rows } of tables.transformer.rows)
    if (rows) taken.set(sat, [...(taken.get(sat) ?? []), ...rows.take]);
  for (const [sat, parts] of taken) {
    const of = tables.transformer.rows.find((row) => row.sat === sat)!.rows!.of;
    expect(parts.sort((a, b) => a - b)).toEqual(Array.from({ length: of }, (_, i) => i));
  }
});

test("weights that are none of CogVideoX are refused with what they are called", async () => {
  const file = join(folder, "other.safetensors");
  await writeSafetensors(file, { "layers.0.weight": f32([1], [0]) });
  const source = await openSource(file);
  expect(() => recognize(source)).toThrow('its 1 tensors begin with "layers.0.weight"');
});
