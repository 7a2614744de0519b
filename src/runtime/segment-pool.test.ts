/** @file Segments run from a checkpoint's files: every float type gives what fed weights give. */
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { f32, numbers } from "../../test/helpers/host-tensor.ts";
import { WeightsError } from "../errors.ts";
import { type Segment, traceSegment } from "../graph/segment.ts";
import { linear } from "../nn/layers.ts";
import { Scope } from "../nn/scope.ts";
import { floatsToBf16, floatsToF16 } from "../weights/cast.ts";
import { openWeights } from "../weights/checkpoint.ts";
import { type TensorData, writeSafetensors } from "../weights/write.ts";
import { Engine } from "./engine.ts";
import { declaredShapes, mapWeights } from "./mapped-weights.ts";
import { SegmentPool } from "./segment-pool.ts";

const segment = traceSegment("blocks.0", { x: [1, 2] }, ({ x }) => {
  const p = new Scope().at("blocks", 0);
  return { outputs: { y: linear(p.at("proj"), x, 3) }, params: p.declared };
});
const weight = Float32Array.of(1, 2, 0.5, -1, 4, 0);
const bias = Float32Array.of(10, 20, 30);
const narrow = { F32: (v: Float32Array) => v, F16: floatsToF16, BF16: floatsToBf16 } as const;

let engine: Engine;
let folder: string;
beforeAll(async () => {
  engine = new Engine({ threads: 1 });
  folder = await mkdtemp(join(tmpdir(), "cogvideox-pool-"));
});
afterAll(async () => {
  await engine.close();
  await rm(folder, { recursive: true });
});

async function checkpoint(name: string, tensors: Record<string, TensorData>) {
  const own = join(folder, name);
  await mkdir(own);
  await writeSafetensors(join(own, "model.safetensors"), tensors);
  return openWeights(own);
}

const tensors = (dtype: keyof typeof narrow): Record<string, TensorData> => ({
  "blocks.0.proj.weight": { dtype, shape: [3, 2], data: narrow[dtype](weight) },
  "blocks.0.proj.bias": { dtype: "F32", shape: [3], data: bias },
});

const run = async (pool: SegmentPool, from: Segment = segment) => {
  const { y } = await pool.run(from, { x: f32([1, 2], [2, 3]) });
  return numbers(await engine.download(y));
};

describe.each(["F32", "F16", "BF16"] as const)("weights stored as %s", (dtype) => {
  test("are mapped from the file", async () => {
    const weights = mapWeights(await checkpoint(dtype, tensors(dtype)), declaredShapes([segment]));
    const pool = new SegmentPool(engine, weights);
    expect(await run(pool)).toEqual([18, 18, 38]);
    await pool.close();
  });
});

describe("a pool", () => {
  test("makes a session once and again after it was closed", async () => {
    const pool = new SegmentPool(
      engine,
      mapWeights(await checkpoint("pool", tensors("F32")), declaredShapes([segment])),
    );
    expect([await run(pool), await run(pool)]).toEqual([
      [18, 18, 38],
      [18, 18, 38],
    ]);
    await pool.close();
    expect(await run(pool)).toEqual([18, 18, 38]);
    await pool.close();
  });

  test("names the segment whose weights are damaged", async () => {
    const damaged = {
      ...tensors("F32"),
      "blocks.0.proj.bias": { dtype: "F32", shape: [3], data: bias.map(() => NaN) },
    };
    const set = await checkpoint("damaged", damaged as Record<string, TensorData>);
    const pool = new SegmentPool(engine, mapWeights(set, declaredShapes([segment])));
    await expect(run(pool)).rejects.toThrow(/^blocks\.0 is the first segment whose result is not finite/);
    await pool.close();
  });
});

describe("mapWeights", () => {
  test("refuses a checkpoint that lacks what the segments declare", async () => {
    const { "blocks.0.proj.bias": _, ...rest } = tensors("F32");
    const set = await checkpoint("lacking", rest);
    expect(() => mapWeights(set, declaredShapes([segment]))).toThrow(WeightsError);
    expect(() => mapWeights(set, declaredShapes([segment]))).toThrow("blocks.0.proj.bias");
  });

  test("knows nothing of keys that were not declared", async () => {
    const { storage } = mapWeights(await checkpoint("known", tensors("BF16")), declaredShapes([segment]));
    expect(storage("other")).toBeUndefined();
    expect(storage("blocks.0.proj.weight")).toMatchObject({
      dtype: "bf16",
      location: "model.safetensors",
      byteLength: 12,
    });
  });
});
