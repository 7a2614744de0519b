/** @file LoRAs in all formats they are kept in, written, fused and taken out again. */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { planConversion } from "../convert/plan.ts";
import { openSource, recognize } from "../convert/source.ts";
import { writePlan } from "../convert/write-plan.ts";
import { readFloats } from "../read.ts";
import { readHeader } from "../safetensors.ts";
import { type TensorData, writeSafetensors } from "../write.ts";
import { type LoraAdapter, readLora } from "./adapter.ts";
import { alphaOf, silentRules } from "./alpha.ts";
import { fuseInto } from "./fuse.ts";
import { parseLoraName } from "./names.ts";
import { planLora } from "./plan.ts";
import { writeLora } from "./write.ts";

let root: string;
let folder: string;
let count = 0;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "cogvideox-lora-"));
});
beforeEach(async () => {
  folder = join(root, String(count++));
  await mkdir(folder);
});
afterAll(() => rm(root, { recursive: true }));

const f32 = (shape: readonly number[], data?: readonly number[]): TensorData => ({
  dtype: "F32",
  shape,
  data: Float32Array.from(data ?? Array(shape.reduce((a, b) => a * b, 1)).fill(1)),
});

async function save(
  tensors: Record<string, TensorData>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<string> {
  const file = join(folder, "lora.safetensors");
  await writeSafetensors(file, tensors, metadata);
  return file;
}

const summary = ({ layers }: LoraAdapter) =>
  [...layers].map(([target, { rank, alpha, scale }]) => `${target} r ${rank} alpha ${alpha} scale ${scale}`);

const target = "transformer_blocks.0.attn1.to_q";

describe("a name means a layer and a role:", () => {
  test.each([
    [`transformer.${target}.lora_A.weight`, target, "a"],
    [`transformer.${target}.lora_B.weight`, target, "b"],
    [`base_model.model.${target}.lora_A.default.weight`, target, "a"],
    [`${target}.lora.down.weight`, target, "a"],
    ["transformer.transformer_blocks.1.attn1.to_k_lora.up.weight", "transformer_blocks.1.attn1.to_k", "b"],
    [
      "transformer.transformer_blocks.1.attn1.to_out_lora.down.weight",
      "transformer_blocks.1.attn1.to_out.0",
      "a",
    ],
    [
      "lora_unet__transformer_blocks_12_attn1_to_out_0.lora_up.weight",
      "transformer_blocks.12.attn1.to_out.0",
      "b",
    ],
    ["lora_unet__transformer_blocks_3_ff_net_0_proj.alpha", "transformer_blocks.3.ff.net.0.proj", "alpha"],
    ["transformer.proj_out.lora_linear_layer.down.weight", "proj_out", "a"],
  ])("%s", (name, layer, role) => {
    expect(parseLoraName(name)).toEqual({ target: layer, role });
  });

  test("other names mean nothing", () => {
    expect(parseLoraName("transformer_blocks.0.attn1.to_q.weight")).toBeUndefined();
  });
});

describe("alpha is", () => {
  const pair = {
    [`transformer.${target}.lora_A.weight`]: f32([4, 6]),
    [`transformer.${target}.lora_B.weight`]: f32([6, 4]),
  };

  test("the rank where nothing is said", async () => {
    expect(summary(await readLora(await save(pair)))).toEqual([`${target} r 4 alpha 4 scale 1`]);
  });

  test("what the header says, by pattern too, and divided by √r for rsLoRA", async () => {
    const header = (config: object) => ({ lora_adapter_metadata: JSON.stringify(config) });
    const read = async (config: object) => summary(await readLora(await save(pair, header(config))))[0];
    expect(await read({ "transformer.lora_alpha": 2 })).toBe(`${target} r 4 alpha 2 scale 0.5`);
    expect(await read({ "transformer.lora_alpha": 2, "transformer.alpha_pattern": { to_q: 8 } })).toBe(
      `${target} r 4 alpha 8 scale 2`,
    );
    expect(await read({ "transformer.lora_alpha": 2, "transformer.use_rslora": true })).toBe(
      `${target} r 4 alpha 2 scale 1`,
    );
    await expect(read({ "transformer.lora_alpha": "2" })).rejects.toThrow(
      'has lora_alpha "2", which must be a number',
    );
    await expect(read({ "transformer.use_dora": true })).rejects.toThrow("describes a DoRA");
  });

  test("what adapter_config.json beside the file says", async () => {
    const file = await save(pair);
    await writeFile(join(folder, "adapter_config.json"), JSON.stringify({ r: 4, lora_alpha: 1 }));
    expect(summary(await readLora(file))).toEqual([`${target} r 4 alpha 1 scale 0.25`]);
  });

  test("what a tensor of the layer says", async () => {
    const name = "lora_unet__transformer_blocks_0_attn1_to_q";
    const file = await save({
      [`${name}.lora_down.weight`]: f32([2, 6]),
      [`${name}.lora_up.weight`]: f32([6, 2]),
      [`${name}.alpha`]: f32([], [1]),
    });
    expect(summary(await readLora(file))).toEqual([`${target} r 2 alpha 1 scale 0.5`]);
  });

  test("what the caller says before all others", async () => {
    const file = await save(pair, { lora_adapter_metadata: '{"transformer.lora_alpha":2}' });
    expect(summary(await readLora(file, { alpha: 8 }))).toEqual([`${target} r 4 alpha 8 scale 2`]);
  });

  test("by pattern only where a name ends with it at a dot", () => {
    const rules = { ...silentRules, patterns: { q: 1, "^attn1.to_q": 2, "attn1.to_q": 3 } };
    expect(alphaOf(rules, target, 4).alpha).toBe(3);
  });
});

describe("a LoRA of SAT", () => {
  const layer = "model.diffusion_model.transformer.layers.0.attention";
  const sat = {
    [`${layer}.dense.matrix_A.0`]: f32([4, 6]),
    [`${layer}.dense.matrix_B.0`]: f32([6, 4]),
    [`${layer}.query_key_value.matrix_A.2`]: f32([4, 6]),
    [`${layer}.query_key_value.matrix_B.2`]: f32([6, 4]),
    [`${layer}.dense.original.weight`]: f32([6, 6]),
  };

  test("is read out of a checkpoint, with alpha 1", async () => {
    expect(summary(await readLora(await save(sat))).sort()).toEqual([
      "transformer_blocks.0.attn1.to_out.0 r 4 alpha 1 scale 0.25",
      "transformer_blocks.0.attn1.to_v r 4 alpha 1 scale 0.25",
    ]);
  });

  test("becomes one of diffusers that keeps its strength, and goes back", async () => {
    const adapter = await readLora(await save(sat));
    const there = planLora(adapter, "sat", "diffusers");
    const file = join(folder, "converted.safetensors");
    await writePlan(file, there.plan.tensors, { metadata: there.metadata });
    const converted = await readLora(file);
    expect(summary(converted).sort()).toEqual(summary(adapter).sort());
    const back = planLora(converted, "diffusers", "sat");
    expect(back.metadata).toMatchObject({ lora_r: "4", lora_alpha: "1" });
    expect(back.plan.tensors.map(({ name }) => name).sort()).toEqual(Object.keys(sat).slice(0, 4).sort());
  });
});

describe("writing", () => {
  test("tells rank and alpha of every layer to the one who reads", async () => {
    const file = join(folder, "pytorch_lora_weights.safetensors");
    const layers = new Map([
      ["transformer_blocks.0.attn1.to_q", { a: f32([4, 6]), b: f32([6, 4]), alpha: 2 }],
      ["transformer_blocks.0.attn1.to_k", { a: f32([4, 6]), b: f32([6, 4]), alpha: 2 }],
      ["proj_out", { a: f32([3, 6]), b: f32([5, 3]), alpha: 6 }],
    ]);
    await writeLora(file, layers, { steps: "100" });
    expect(summary(await readLora(folder)).sort()).toEqual([
      "proj_out r 3 alpha 6 scale 2",
      "transformer_blocks.0.attn1.to_k r 4 alpha 2 scale 0.5",
      "transformer_blocks.0.attn1.to_q r 4 alpha 2 scale 0.5",
    ]);
    const { metadata } = await readHeader(file);
    expect(metadata).toMatchObject({ format: "pt", steps: "100" });
    expect(JSON.parse(metadata.lora_adapter_metadata)).toEqual({
      "transformer.r": 4,
      "transformer.lora_alpha": 2,
      "transformer.rank_pattern": { proj_out: 3 },
      "transformer.alpha_pattern": { proj_out: 6 },
      "transformer.target_modules": [
        "proj_out",
        "transformer_blocks.0.attn1.to_k",
        "transformer_blocks.0.attn1.to_q",
      ],
    });
  });
});

describe("a folder", () => {
  const pair = { [`${target}.lora_A.weight`]: f32([2, 6]), [`${target}.lora_B.weight`]: f32([6, 2]) };

  test("is its only file of weights, whatever its name", async () => {
    await save(pair);
    expect((await readLora(folder)).source).toBe(join(folder, "lora.safetensors"));
  });

  test("of several files, or of none, is refused with what would do", async () => {
    await expect(readLora(folder)).rejects.toThrow(
      "holds no LoRA; expected pytorch_lora_weights.safetensors, adapter_model.safetensors or one other",
    );
    for (const name of ["a", "b"]) await writeSafetensors(join(folder, `${name}.safetensors`), pair);
    await expect(readLora(folder)).rejects.toThrow('holds 2 files that may be meant ("a.safetensors", "b');
  });
});

describe("a file is refused that", () => {
  const a = { [`${target}.lora_A.weight`]: f32([2, 6]) };
  const b = { [`${target}.lora_B.weight`]: f32([6, 2]) };
  test.each([
    ["lacks a matrix", a, `the layer "${target}" lacks its matrix B`],
    ["has ranks that differ", { ...a, [`${target}.lora_B.weight`]: f32([6, 3]) }, "are [2,6] and [6,3]"],
    ["is a DoRA", { ...a, ...b, [`${target}.lora_magnitude_vector`]: f32([6]) }, "makes it a DoRA"],
    ["has biases", { ...a, ...b, [`${target}.lora_B.bias`]: f32([6]) }, "makes it a LoRA with biases"],
    [
      "holds something else too",
      { ...a, ...b, "proj_out.weight": f32([1]) },
      '"proj_out.weight" has no name of a LoRA',
    ],
    ["holds nothing", {}, "it holds no tensors"],
    [
      "has two matrices for one",
      { ...a, ...b, [`transformer.${target}.lora_A.weight`]: f32([2, 6]) },
      "it has two tensors for a of the layer",
    ],
    [
      "holds integers",
      {
        ...a,
        [`${target}.lora_B.weight`]: { dtype: "I8", shape: [6, 2], data: new Int8Array(12) } as TensorData,
      },
      "is I8; F32, F16 or BF16 is needed",
    ],
  ])("%s", async (_, tensors, words) => {
    await expect(readLora(await save(tensors as Record<string, TensorData>))).rejects.toThrow(words);
  });
});

test("fusing adds scale · B A in float32, and a negative scale takes it away", async () => {
  const lora = await readLora(
    await save(
      {
        [`${target}.lora_A.weight`]: f32([2, 3], [1, 2, 3, 4, 5, 6]),
        [`${target}.lora_B.weight`]: f32([2, 2], [1, 0, 2, -1]),
      },
      { lora_adapter_metadata: '{"transformer.lora_alpha":1}' },
    ),
  );
  const base = join(folder, "base.safetensors");
  const weights = [10, 20, 30, 40, 50, 60];
  await writeSafetensors(base, { [`${target}.weight`]: f32([2, 3], weights), [`${target}.bias`]: f32([2]) });
  const fuse = async (from: string, to: string, scale: number) => {
    const source = await openSource(from);
    const { component, layout } = recognize(source);
    const { tensors } = planConversion(source.tensors, component, layout, layout);
    await writePlan(join(folder, to), tensors, {
      editOf: (name) => fuseInto(name, [{ adapter: lora, scale }]),
    });
    return [...(await readFloats((await readHeader(join(folder, to))).tensors.get(`${target}.weight`)!))];
  };
  // B A is [[1, 2, 3], [-2, -1, 0]], and the LoRA's own scale is 1/2.
  expect(await fuse(base, "fused.safetensors", 4)).toEqual([12, 24, 36, 36, 48, 60]);
  expect(await fuse(join(folder, "fused.safetensors"), "back.safetensors", -4)).toEqual(weights);
});
