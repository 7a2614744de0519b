/** @file Transformers in float16 and quantised ones: on load, from disk, under LoRAs, against float32. */
import { cpSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cogvideox, temporaryFolder } from "../../test/helpers/command-line.ts";
import { f32, hashed } from "../../test/helpers/host-tensor.ts";
import { copyCheckpoint, editTensors, recorded } from "../../test/helpers/tiny-checkpoint.ts";
import { toOnnx } from "../graph/onnx.ts";
import { emit, input } from "../graph/tensor.ts";
import { parseTransformerConfig } from "../models/transformer/config.ts";
import { Engine } from "../runtime/engine.ts";
import { mapWeights } from "../runtime/mapped-weights.ts";
import { floatsToBf16 } from "../weights/cast.ts";
import { openWeights, type WeightSet } from "../weights/checkpoint.ts";
import { loraFileName, loraMetadata } from "../weights/lora/write.ts";
import { type Quantization, quantizations, quantizedLayers } from "../weights/quantize/format.ts";
import { quantizeOnLoad } from "../weights/quantize/on-load.ts";
import { readBytes, readFloats } from "../weights/read.ts";
import { writeSafetensors } from "../weights/write.ts";
import { openComponent } from "./checkpoint.ts";
import { Denoiser } from "./denoiser.ts";
import { withLoras } from "./lora.ts";
import { requirePrecision, storedPrecision, weightsIn } from "./precision.ts";

const model = recorded("t2v-rope");

let engine: Engine;
beforeAll(() => {
  engine = new Engine({ threads: 1 });
});
afterAll(() => engine.close());

/** Parts of the velocity's size that rounding may cost on the tiny checkpoint: measured ones, doubled. */
const limits: Readonly<Record<Quantization, number>> = { int8: 0.008, w8: 0.008, w4: 0.07 };

describe.each(quantizations)("%s", (quantization) => {
  test("computes the velocity as float32 does, within its rounding", async () => {
    const { weights } = await open(model);
    const quantized = await weightsIn(quantization, weights, { cache: temporaryFolder() });
    expect(storedPrecision(quantized)).toBe(quantization);
    const error = relative(await velocity(quantized), await velocity(weights));
    expect(error).toBeGreaterThan(0);
    expect(error).toBeLessThan(limits[quantization]);
  });

  test("gives the same bytes on load and from a converted checkpoint", async () => {
    const folder = join(temporaryFolder(), "quantized");
    cpSync(model, folder, { recursive: true, filter: (file) => !/expected|transformer\//.test(file) });
    const converted = await cogvideox([
      "convert",
      join(model, "transformer"),
      join(folder, "transformer"),
      "--quantize",
      quantization,
    ]);
    expect(converted.status).toBe(0);
    const stored = (await open(folder)).weights;
    const loaded = await quantizeOnLoad((await open(model)).weights, quantization, {
      cache: temporaryFolder(),
    });
    expect([...stored.tensors.keys()].sort()).toEqual([...loaded.tensors.keys()].sort());
    for (const { weight, scale } of quantizedLayers(stored.tensors).values())
      for (const key of [weight, scale])
        expect(await readBytes(stored.tensors.get(key)!)).toEqual(await readBytes(loaded.tensors.get(key)!));
    expect(await velocity(stored)).toEqual(await velocity(loaded));
  });

  test("carries LoRAs, whose own maps stay in float", async () => {
    const { weights } = await open(model);
    const quantized = await weightsIn(quantization, weights, { cache: temporaryFolder() });
    const lora = await writeLora(weights);
    const both = await velocity(await withLoras(quantized, [lora]));
    const alone = await velocity(await withLoras(weights, [lora]));
    expect(relative(alone, await velocity(weights))).toBeGreaterThan(0.2);
    expect(relative(both, alone)).toBeLessThan(2 * limits[quantization]);
  });
});

describe("fp16", () => {
  test.each([
    ["t2v-rope", 2.5e-4],
    ["t2v-sincos", 2e-4],
    ["t2v-patch-t", 2.5e-4],
  ])("computes the velocity of %s as float32 does, within %d", async (name, limit) => {
    const folder = recorded(name);
    const { weights } = await open(folder);
    const halved = await weightsIn("fp16", weights, { cache: temporaryFolder() });
    expect(storedPrecision(halved)).toBe("fp16");
    const error = relative(await velocity(halved, folder), await velocity(weights, folder));
    expect(error).toBeGreaterThan(1e-5);
    expect(error).toBeLessThan(limit);
  });

  test("takes weights that are stored in float16 from where they are, and keeps others in the cache", async () => {
    const cache = temporaryFolder();
    await weightsIn("fp16", (await open(recorded("t2v-sincos"))).weights, { cache });
    expect(readdirSync(cache)).toEqual([]);
    const { weights } = await open(model);
    const halved = await weightsIn("fp16", weights, { cache });
    expect(readdirSync(cache)).toHaveLength(1);
    const typeOf = (name: string) => halved.tensors.get(`transformer_blocks.0.${name}`)?.dtype;
    expect(["attn1.to_q.weight", "attn1.to_q.bias", "ff.net.2.weight"].map(typeOf)).toEqual([
      "F16",
      "F16",
      "F16",
    ]);
    expect(typeOf("norm1.linear.weight")).toBe("BF16");
    expect([...halved.tensors.keys()].sort()).toEqual([...weights.tensors.keys()].sort());
  });

  test("carries LoRAs, whose own maps stay in float", async () => {
    const { weights } = await open(model);
    const halved = await weightsIn("fp16", weights, { cache: temporaryFolder() });
    const lora = await writeLora(weights);
    const both = await velocity(await withLoras(halved, [lora]));
    const alone = await velocity(await withLoras(weights, [lora]));
    expect(relative(alone, await velocity(weights))).toBeGreaterThan(0.2);
    expect(relative(both, alone)).toBeLessThan(5e-4);
  });

  test("refuses a weight that float16 does not reach, by name, and leaves nothing in the cache", async () => {
    const cache = temporaryFolder();
    const name = "transformer_blocks.1.ff.net.2.weight";
    const folder = await withTensor(name, (values) => values.fill(70_144, 5, 6));
    await expect(weightsIn("fp16", (await open(folder)).weights, { cache })).rejects.toThrow(
      `tensor "${name}", BF16, holds 70144, which float16 does not reach; `,
    );
    expect(readdirSync(cache)).toEqual([]);
  });

  test.each(["attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0", "ff.net.0.proj", "ff.net.2"])(
    "stops where a result of %s is beyond 65504, where float32 has room",
    async (layer) => {
      const name = `transformer_blocks.0.${layer}.weight`;
      const folder = await withTensor(name, (values) => values.set(values.map((_, i) => (i % 2 ? 0 : 6e4))));
      const { weights } = await open(folder);
      const halved = await weightsIn("fp16", weights, { cache: temporaryFolder() });
      await expect(velocity(halved)).rejects.toThrow(
        /transformer_blocks\.0 is .* beyond 65504, where float16 ends/,
      );
      expect((await velocity(weights)).every(Number.isFinite)).toBe(true);
    },
  );
});

describe("the cache", () => {
  test("is written once for one state of the weights", async () => {
    const cache = temporaryFolder();
    const { weights } = await open(model);
    await quantizeOnLoad(weights, "w4", { cache });
    const [file] = readdirSync(cache);
    const { ino } = statSync(join(cache, file));
    await quantizeOnLoad((await open(model)).weights, "w4", { cache });
    expect(readdirSync(cache)).toEqual([file]);
    expect(statSync(join(cache, file)).ino).toBe(ino);
    await quantizeOnLoad(weights, "int8", { cache });
    expect(readdirSync(cache)).toHaveLength(2);
  });

  test("holds nothing of work that was stopped", async () => {
    const cache = temporaryFolder();
    const { weights } = await open(model);
    const signal = AbortSignal.abort();
    await expect(quantizeOnLoad(weights, "int8", { cache, signal })).rejects.toThrow("stopped");
    expect(readdirSync(cache)).toEqual([]);
  });
});

describe("what cannot be is refused", () => {
  test("another precision than that of the files", async () => {
    const { weights } = await open(model);
    const quantized = await quantizeOnLoad(weights, "w4", { cache: temporaryFolder() });
    await expect(weightsIn("int8", quantized)).rejects.toThrow("are quantised to w4, and int8 was asked for");
    await expect(weightsIn("fp16", quantized)).rejects.toThrow("are quantised to w4, and fp16 was asked for");
    await expect(weightsIn("fp32", quantized)).rejects.toThrow("leave --precision out");
    expect(await weightsIn(undefined, quantized)).toBe(quantized);
  });

  test("weights with nothing to quantise", async () => {
    const vae = await openWeights(join(model, "vae"));
    await expect(weightsIn("int8", vae)).rejects.toThrow("no matrices of a transformer's blocks");
  });

  test("int8 on GPUs", () => {
    expect(() => requirePrecision("fp16", "cuda")).not.toThrow();
    expect(() => requirePrecision("int8", "webgpu")).toThrow("no kernels on webgpu");
    expect(() => requirePrecision("w8", "webgpu")).not.toThrow();
  });
});

test("the engine sees scales beyond the size from which matrices are hidden from it", async () => {
  const [out, blocks, bytes] = [8192, 32, 16];
  const [matrix, scale] = ["layer.weight_w4", "layer.weight_scale"];
  const folder = temporaryFolder();
  await writeSafetensors(join(folder, "model.safetensors"), {
    // Nines are ones above the middle.
    [matrix]: {
      dtype: "U8",
      shape: [out, blocks, bytes],
      data: new Uint8Array(out * blocks * bytes).fill(0x99),
    },
    [scale]: { dtype: "F32", shape: [out, blocks], data: new Float32Array(out * blocks).fill(0.5) },
  });
  const set = await openWeights(folder);
  const declared = new Map([...set.tensors].map(([key, { shape }]) => [key, shape]));
  const { folder: weightsFolder, storage } = mapWeights(set, declared);
  const width = blocks * bytes * 2;
  const inputs = [
    input("x", [1, width]),
    emit("Param", [], { key: matrix, shape: [out, blocks, bytes], dtype: "u8" }),
    emit("Param", [], { key: scale, shape: [out, blocks] }),
  ];
  const y = emit("BlockLinear", inputs, { bits: 4, block: 32 });
  const onnx = toOnnx({ y }, { storage, prepack: true });
  const session = await engine.load("large", onnx, { weightsFolder, prepack: true });
  const { y: result } = await engine.run(session, { x: f32([1, width], Array(width).fill(1)) });
  const sums = (await engine.download(result)).data as Float32Array;
  await engine.unload(session);
  expect(sums[0]).toBeCloseTo(width / 2, 2);
  expect(sums[out - 1]).toBeCloseTo(width / 2, 2);
});

async function open(folder: string) {
  return openComponent(folder, "transformer", parseTransformerConfig);
}

/** A copy of the model whose transformer has one tensor changed, in bfloat16. */
async function withTensor(name: string, change: (values: Float32Array) => void): Promise<string> {
  const folder = copyCheckpoint("t2v-rope");
  const stored = (await open(folder)).weights.tensors.get(name)!;
  const values = await readFloats(stored);
  change(values);
  await editTensors(stored.file, (tensors) => {
    tensors[name] = { ...tensors[name], data: floatsToBf16(values) };
  });
  return folder;
}

async function velocity(weights: WeightSet, folder = model): Promise<Float32Array> {
  const { config } = await open(folder);
  const [frames, height, width, textLength] = [4, 8, 8, config.maxTextLength];
  const denoiser = new Denoiser(engine, config, weights, { batch: 1, frames, height, width, textLength });
  const latents = hashed([1, frames, config.inChannels, height, width], 1);
  const text = hashed([1, textLength, config.textDim], 2);
  try {
    return (await denoiser.predict({ latents, text, timestep: [500] })).data as Float32Array;
  } finally {
    await denoiser.close();
  }
}

/** A LoRA of rank 2 on a query map and on a feed-forward map. */
async function writeLora({ tensors }: WeightSet): Promise<{ file: string; scale: number }> {
  const targets = ["transformer_blocks.0.attn1.to_q", "transformer_blocks.1.ff.net.2"];
  const file = join(temporaryFolder(), loraFileName);
  const matrices = targets.flatMap((target, i) => {
    const [out, width] = tensors.get(`${target}.weight`)!.shape;
    return [
      [`transformer.${target}.lora_A.weight`, hashed([2, width], 3 + i)],
      [`transformer.${target}.lora_B.weight`, hashed([out, 2], 5 + i)],
    ] as const;
  });
  const named = matrices.map(([name, { shape, data }]) => [name, { dtype: "F32" as const, shape, data }]);
  const layers = targets.map((target) => ({ target, rank: 2, alpha: 2 }));
  await writeSafetensors(file, Object.fromEntries(named), { format: "pt", ...loraMetadata(layers) });
  return { file, scale: 0.5 };
}

function relative(a: Float32Array, b: Float32Array): number {
  const error = a.reduce((sum, value, i) => sum + (value - b[i]) ** 2, 0);
  return Math.sqrt(error / b.reduce((sum, value) => sum + value ** 2, 0));
}
