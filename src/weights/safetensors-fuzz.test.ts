/** @file Feeds the header reader damaged files: it returns a consistent header or throws a WeightsError, nothing else. */
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { WeightsError } from "../errors.ts";
import { storedBytes } from "./dtype.ts";
import { readBytes } from "./read.ts";
import { readHeader } from "./safetensors.ts";
import { writeSafetensors } from "./write.ts";

let folder: string;
let file: string;
let valid: Uint8Array;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cogvideox-fuzz-"));
  file = join(folder, "damaged.safetensors");
  await writeSafetensors(
    file,
    {
      "blocks.0.weight": { dtype: "F32", shape: [2, 3], data: new Float32Array(6) },
      "blocks.0.bias": { dtype: "BF16", shape: [3], data: new Uint16Array(3) },
      mask: { dtype: "BOOL", shape: [], data: Uint8Array.of(1) },
    },
    { format: "pt" },
  );
  valid = new Uint8Array(await readFile(file));
});
afterAll(() => rm(folder, { recursive: true }));

async function survives(bytes: Uint8Array): Promise<void> {
  await writeFile(file, bytes);
  try {
    const { tensors } = await readHeader(file);
    const { size } = await stat(file);
    for (const tensor of tensors.values()) {
      expect(tensor.offset + tensor.byteLength).toBeLessThanOrEqual(size);
      expect(tensor.byteLength).toBe(storedBytes(tensor.dtype, tensor.shape));
      expect((await readBytes(tensor)).byteLength).toBe(tensor.byteLength);
    }
  } catch (error) {
    if (!(error instanceof WeightsError)) throw error;
    expect(error.message).toContain(file);
  }
}

function withHeader(header: string, data: Uint8Array): Uint8Array {
  const json = new TextEncoder().encode(header);
  const bytes = new Uint8Array(8 + json.length + data.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(json, 8);
  bytes.set(data, 8 + json.length);
  return bytes;
}

test("survives random bytes", async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), (bytes) => survives(bytes)),
    { numRuns: 300 },
  );
});

test("survives random headers of the right length", async () => {
  const header = fc.oneof(fc.string({ unit: "binary" }), fc.json());
  await fc.assert(
    fc.asyncProperty(header, fc.uint8Array({ maxLength: 16 }), (text, data) =>
      survives(withHeader(text, data)),
    ),
    { numRuns: 300 },
  );
});

test("survives headers that are nearly right", async () => {
  const count = fc.oneof(fc.integer({ min: -1, max: 9 }), fc.double(), fc.jsonValue({ maxDepth: 1 }));
  const entry = fc.record(
    {
      dtype: fc.constantFrom("F32", "U8", "F4", "BF16", "f32", null),
      shape: fc.array(count, { maxLength: 3 }),
      data_offsets: fc.array(count, { minLength: 1, maxLength: 3 }),
    },
    { requiredKeys: ["dtype", "shape"] },
  );
  const header = fc.dictionary(fc.constantFrom("a", "b", "__metadata__", "__proto__"), entry);
  await fc.assert(
    fc.asyncProperty(header, fc.uint8Array({ maxLength: 16 }), (value, data) =>
      survives(withHeader(JSON.stringify(value), data)),
    ),
    { numRuns: 500 },
  );
});

test("survives changed bytes in a valid file", async () => {
  const changes = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 });
  await fc.assert(
    fc.asyncProperty(changes, async (changed) => {
      const bytes = valid.slice();
      for (const [at, byte] of changed) bytes[at % bytes.length] = byte;
      await survives(bytes);
    }),
    { numRuns: 600 },
  );
});

test("refuses every truncation of a valid file", async () => {
  for (let size = 0; size < valid.length; size++) {
    await writeFile(file, valid.subarray(0, size));
    await expect(readHeader(file)).rejects.toThrow(WeightsError);
  }
});
