/** @file Parameters on their way to disk and back. */
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { WeightsError } from "../../errors.ts";
import { openWeights } from "../../weights/checkpoint.ts";
import { type Params, readParams, writeParams } from "./params-file.ts";

let folder: string;
const stored = async (part: string) => readParams(await openWeights(join(folder, part)));
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "cogvideox-params-"));
  for (const part of ["transformer", "text_encoder"]) mkdirSync(join(folder, part));
});
afterEach(() => rmSync(folder, { recursive: true }));

const params: Params = new Map([
  ["b", { shape: [3], data: new Float32Array([1, -0.1, 3e-5]) }],
  ["a.weight", { shape: [2, 2], data: new Float32Array([0.1, 0.2, 0.3, 1 / 3]) }],
]);

describe("writeParams", () => {
  test("keeps float32 as it is", async () => {
    await writeParams(folder, "transformer", params, "f32");
    const read = await stored("transformer");
    expect(new Map([...read].sort())).toEqual(new Map([...params].sort()));
    expect(readdirSync(join(folder, "transformer"))).toEqual(["diffusion_pytorch_model.safetensors"]);
  });

  test.each([
    ["bf16", 2 ** -8],
    ["f16", 2 ** -11],
  ] as const)("rounds to %s, within %d of the value", async (dtype, rtol) => {
    await writeParams(folder, "text_encoder", params, dtype);
    const read = await stored("text_encoder");
    for (const [key, { data }] of params)
      expect(read.get(key)!.data).toBeCloseToArray(data, { atol: 3e-8, rtol });
    expect(readdirSync(join(folder, "text_encoder"))).toEqual(["model.safetensors"]);
  });

  test("replaces what was written before", async () => {
    await writeParams(folder, "transformer", params, "f32");
    const other: Params = new Map([["c", { shape: [1], data: new Float32Array([7]) }]]);
    await writeParams(folder, "transformer", other, "f32");
    expect(await stored("transformer")).toEqual(other);
  });

  test("takes the place of shards", async () => {
    const sharded = fileURLToPath(
      new URL("../../../test/fixtures/checkpoints/t2v-rope/transformer", import.meta.url),
    );
    cpSync(sharded, join(folder, "transformer"), { recursive: true });
    expect((await stored("transformer")).size).toBeGreaterThan(2);
    await writeParams(folder, "transformer", params, "f32");
    expect(readdirSync(join(folder, "transformer")).toSorted()).toEqual([
      "config.json",
      "diffusion_pytorch_model.safetensors",
    ]);
    expect(await stored("transformer")).toEqual(params);
  });

  test("leaves shards alone that an index does not explain", async () => {
    const index = join(folder, "transformer", "diffusion_pytorch_model.safetensors.index.json");
    writeFileSync(index, "{}");
    await expect(writeParams(folder, "transformer", params, "f32")).rejects.toThrow(WeightsError);
    expect(readdirSync(join(folder, "transformer"))).toEqual([basename(index)]);
  });
});
