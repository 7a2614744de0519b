/** @file Tests of reading tensors, against a file that the safetensors library wrote. */
import { mkdtemp, rm, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { WeightsError } from "../errors.ts";
import { floatsToBf16, floatsToF16 } from "./cast.ts";
import { readBytes, readFloats, readTensor } from "./read.ts";
import { readHeader } from "./safetensors.ts";
import { writeSafetensors } from "./write.ts";

const reference = fileURLToPath(
  new URL("../../test/fixtures/weights/reference.safetensors", import.meta.url),
);
const floats = Float32Array.of(0, -1.5, 3.140625, 100, -0, 7);
const counts = [0, 1, 2, 100, 126, 127];
const bigCounts = counts.map(BigInt);

test.each([
  ["f64", [2, 3], floats],
  ["f32", [2, 3], floats],
  ["f16", [2, 3], floats],
  ["bf16", [2, 3], floats],
  ["i64", [3, 2], BigInt64Array.from(bigCounts)],
  ["u64", [3, 2], BigUint64Array.from(bigCounts)],
  ["i32", [3, 2], Int32Array.from(counts)],
  ["u32", [3, 2], Uint32Array.from(counts)],
  ["i16", [3, 2], Int16Array.from(counts)],
  ["u16", [3, 2], Uint16Array.from(counts)],
  ["i8", [3, 2], Int8Array.from(counts)],
  ["u8", [3, 2], Uint8Array.from(counts)],
  ["bool", [3], Uint8Array.of(1, 0, 1)],
  ["scalar", [], Float32Array.of(2.5)],
  ["empty", [0, 4], new Float32Array(0)],
])("reads %s as the reference library wrote it", async (name, shape, values) => {
  const stored = (await readHeader(reference)).tensors.get(name)!;
  expect(stored.shape).toEqual(shape);
  expect(await readTensor(stored)).toEqual(values);
});

test("reads the metadata as the reference library wrote it", async () => {
  expect((await readHeader(reference)).metadata).toEqual({ format: "pt", note: "größer" });
});

test("refuses to turn float8 and complex numbers into arrays, but gives their bytes", async () => {
  const { tensors } = await readHeader(reference);
  for (const name of ["f8", "c64"])
    await expect(readTensor(tensors.get(name)!)).rejects.toThrow(/has dtype (F8_E4M3|C64), where F64, F32/);
  expect(await readBytes(tensors.get("f8")!)).toEqual(Uint8Array.of(0x38, 0x40, 0xc8));
});

test("refuses to read integers as floats", async () => {
  const { tensors } = await readHeader(reference);
  await expect(readFloats(tensors.get("i64")!)).rejects.toThrow(
    /"i64" .* has dtype I64, where F64, F32, F16, BF16/,
  );
});

test("reads tensors that are longer than one piece", async () => {
  const folder = await mkdtemp(join(tmpdir(), "cogvideox-read-"));
  try {
    const file = join(folder, "long.safetensors");
    const values = Float32Array.from({ length: 17_000_001 }, (_, i) => (i % 2000) - 1000);
    await writeSafetensors(file, {
      bf16: { dtype: "BF16", shape: [values.length], data: floatsToBf16(values.map((x) => x % 100)) },
      f16: { dtype: "F16", shape: [values.length], data: floatsToF16(values) },
      f32: { dtype: "F32", shape: [values.length], data: values },
    });
    const { tensors } = await readHeader(file);
    expect(sameNumbers(await readFloats(tensors.get("f32")!), values)).toBe(true);
    expect(sameNumbers(await readFloats(tensors.get("f16")!), values)).toBe(true);
    const rounded = values.map((x) => x % 100);
    expect(sameNumbers(await readFloats(tensors.get("bf16")!), rounded)).toBe(true);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("says so when the file was cut short after its header was read", async () => {
  const folder = await mkdtemp(join(tmpdir(), "cogvideox-read-"));
  try {
    const file = join(folder, "cut.safetensors");
    await writeSafetensors(file, { a: { dtype: "F32", shape: [4], data: new Float32Array(4) } });
    const stored = (await readHeader(file)).tensors.get("a")!;
    await truncate(file, stored.offset + 5);
    for (const read of [readTensor, readFloats, readBytes])
      await expect(read(stored)).rejects.toThrow(/ends at byte .* 11 more bytes belong to the data/);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("says so when a tensor is larger than any array", async () => {
  const shape = [2 ** 50];
  const huge = { name: "huge", dtype: "U8", shape, file: reference, offset: 0, byteLength: 2 ** 50 } as const;
  await expect(readTensor(huge)).rejects.toThrow(WeightsError);
  await expect(readFloats({ ...huge, dtype: "F32", byteLength: 2 ** 52 })).rejects.toThrow(
    /is larger than one array/,
  );
});

// Comparing 17 million elements one assertion at a time would take minutes.
function sameNumbers(a: Float32Array, b: Float32Array): boolean {
  return a.length === b.length && a.every((value, i) => value === b[i]);
}
