/** @file PyTorch files, written by PyTorch, and damaged copies of them. */
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WeightsError } from "../errors.ts";
import { readFloats, readTensor } from "./read.ts";
import { openTorchFile } from "./torch-file.ts";

const fixture = (name: string) => join("test/fixtures/weights", name);

describe("a file that PyTorch wrote", () => {
  test("gives the tensors of the wrapped state dictionary, in order", async () => {
    const { tensors } = await openTorchFile(fixture("torch-training.pt"));
    expect([...tensors.values()].map(({ name, dtype, shape }) => `${name} ${dtype} [${shape}]`)).toEqual([
      "float F32 [2,3]",
      "bfloat BF16 [3]",
      "half F16 [2,1]",
      "parameter F32 [2]",
      "rows F32 [2,2]",
      "count I64 []",
      "empty F32 [0,3]",
    ]);
  });

  test("holds the values at the places it says", async () => {
    const { tensors } = await openTorchFile(fixture("torch-training.pt"));
    const values = async (name: string) => [...(await readTensor(tensors.get(name)!))];
    expect(await values("float")).toEqual([0, 0.25, 0.5, 0.75, 1, 1.25]);
    expect(await values("bfloat")).toEqual([1, -2.5, 3]);
    expect(await values("half")).toEqual([0.5, -0.25]);
    expect(await values("parameter")).toEqual([7, 8]);
    expect(await values("rows")).toEqual([4, 5, 6, 7]);
    expect(await values("count")).toEqual([2n ** 40n]);
  });

  test.each([
    ["torch-transposed.pt", "has strides [1,3]"],
    ["torch-tensor.pt", "holds no dictionary of tensors"],
    ["torch-legacy.pt", "the format of PyTorch before 1.6"],
    ["reference.safetensors", "does not begin as one"],
  ])("%s is refused in a sentence", async (name, words) => {
    await expect(openTorchFile(fixture(name))).rejects.toThrow(words);
  });
});

describe("a damaged file", () => {
  let folder: string;
  let file: string;
  let valid: Uint8Array;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "cogvideox-torch-"));
    file = join(folder, "damaged.pt");
    valid = new Uint8Array(await readFile(fixture("torch-training.pt")));
  });
  afterAll(() => rm(folder, { recursive: true }));

  async function survives(bytes: Uint8Array): Promise<void> {
    await writeFile(file, bytes);
    try {
      const { tensors } = await openTorchFile(file);
      const { size } = await stat(file);
      for (const tensor of tensors.values()) {
        expect(tensor.offset + tensor.byteLength).toBeLessThanOrEqual(size);
        if (tensor.dtype === "F32") await readFloats(tensor);
      }
    } catch (error) {
      if (!(error instanceof WeightsError)) throw error;
      expect(error.message).toContain(file);
    }
  }

  test("is read or refused in a sentence when single bytes are changed", async () => {
    const change = fc.tuple(fc.nat({ max: valid.length - 1 }), fc.integer({ min: 0, max: 255 }));
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 6 }), (changes) => {
        const bytes = valid.slice();
        for (const [at, value] of changes) bytes[at] = value;
        return survives(bytes);
      }),
      { numRuns: 400 },
    );
  });

  test("is read or refused in a sentence when its pickle is changed", async () => {
    const start = Buffer.from(valid).indexOf("data.pkl");
    const change = fc.tuple(
      fc.integer({ min: start + 8, max: start + 1400 }),
      fc.integer({ min: 0, max: 255 }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 3 }), (changes) => {
        const bytes = valid.slice();
        for (const [at, value] of changes) bytes[at] = value;
        return survives(bytes);
      }),
      { numRuns: 400 },
    );
  });

  test("is refused in a sentence when it is cut short or random", async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat({ max: valid.length - 1 }), (length) => survives(valid.slice(0, length))),
      { numRuns: 100 },
    );
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 100 }), (bytes) =>
        survives(Uint8Array.of(0x50, 0x4b, 3, 4, ...bytes)),
      ),
      { numRuns: 100 },
    );
  });
});
