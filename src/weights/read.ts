/** @file Reads tensors from disk into typed arrays, a piece at a time, wherever in the file they lie. */
import type { FileHandle } from "node:fs/promises";
import { WeightsError } from "../errors.ts";
import { bf16ToFloats, f16ToFloats } from "./cast.ts";
import type { StoredDType } from "./dtype.ts";
import { readExactly, show, withFile } from "./file.ts";
import type { StoredTensor } from "./safetensors.ts";

/** What `readTensor` returns: one array per kind of number, all float kinds as float32. */
export type TensorArray =
  | Float32Array
  | BigInt64Array
  | BigUint64Array
  | Int32Array
  | Uint32Array
  | Int16Array
  | Uint16Array
  | Int8Array
  | Uint8Array;

/** Bytes read in one go: large enough for the disk, small beside the tensors. A multiple of 8. */
const pieceBytes = 2 ** 25;

const integers: Partial<Record<StoredDType, new (data: ArrayBuffer) => TensorArray>> = {
  I64: BigInt64Array,
  U64: BigUint64Array,
  I32: Int32Array,
  U32: Uint32Array,
  I16: Int16Array,
  U16: Uint16Array,
  I8: Int8Array,
  U8: Uint8Array,
  BOOL: Uint8Array,
};

/** Turns one piece of the file, at most `pieceBytes` long, into float32. */
const floats: Partial<Record<StoredDType, (piece: ArrayBuffer, into: Float32Array<ArrayBuffer>) => void>> = {
  F64: (piece, into) => into.set(new Float64Array(piece)),
  F32: (piece, into) => into.set(new Float32Array(piece)),
  F16: (piece, into) => f16ToFloats(new Uint16Array(piece), into),
  BF16: (piece, into) => bf16ToFloats(new Uint16Array(piece), into),
};

/**
 * The elements of a tensor in row-major order: float kinds as float32 (see `readFloats`), integers as they are,
 * BOOL as 0 and 1 in a Uint8Array.
 *
 * @throws {WeightsError} for the float8, float6, float4 and complex kinds, and when the file cannot be read.
 */
export async function readTensor(stored: StoredTensor): Promise<TensorArray> {
  if (floats[stored.dtype]) return readFloats(stored);
  const Integers = integers[stored.dtype];
  if (!Integers) throw unreadable(stored, [...Object.keys(floats), ...Object.keys(integers)]);
  const data = await readData(stored);
  return inMemory(stored, () => new Integers(data));
}

/**
 * The elements of a float tensor as float32: exact for F16, BF16 and F32, nearest for F64.
 *
 * @throws {WeightsError} when the tensor holds no F16, BF16, F32 or F64, and when the file cannot be read.
 */
export async function readFloats(stored: StoredTensor): Promise<Float32Array> {
  const widen = floats[stored.dtype];
  if (!widen) throw unreadable(stored, Object.keys(floats));
  const count = stored.shape.reduce((product, dimension) => product * dimension, 1);
  const bytesPerElement = count === 0 ? 1 : stored.byteLength / count;
  const values = inMemory(stored, () => new Float32Array(count));
  await eachPiece(stored, async (handle, start, length) => {
    const piece = new ArrayBuffer(length);
    await readExactly(handle, stored.file, new Uint8Array(piece), stored.offset + start);
    const first = start / bytesPerElement;
    widen(piece, values.subarray(first, first + length / bytesPerElement));
  });
  return values;
}

/** The bytes of a tensor as they lie in the file, for any dtype. */
export async function readBytes(stored: StoredTensor): Promise<Uint8Array> {
  const data = await readData(stored);
  return inMemory(stored, () => new Uint8Array(data));
}

async function readData(stored: StoredTensor): Promise<ArrayBuffer> {
  const data = inMemory(stored, () => new ArrayBuffer(stored.byteLength));
  await eachPiece(stored, (handle, start, length) =>
    readExactly(handle, stored.file, new Uint8Array(data, start, length), stored.offset + start),
  );
  return data;
}

async function eachPiece(
  { file, byteLength }: StoredTensor,
  use: (handle: FileHandle, start: number, length: number) => Promise<void>,
): Promise<void> {
  await withFile(file, async (handle) => {
    for (let start = 0; start < byteLength; start += pieceBytes)
      await use(handle, start, Math.min(pieceBytes, byteLength - start));
  });
}

/** Runs `make`, which fails where the engine has no room for, or no arrays of, that size. */
function inMemory<T>(stored: StoredTensor, make: () => T): T {
  try {
    return make();
  } catch (cause) {
    throw new WeightsError(
      `tensor ${show(stored.name)} of ${stored.file} (${stored.byteLength} bytes on disk) is larger than one array ` +
        "of this process can be; read it on a machine with more memory",
      { cause },
    );
  }
}

function unreadable(stored: StoredTensor, kinds: readonly string[]): WeightsError {
  return new WeightsError(
    `tensor ${show(stored.name)} of ${stored.file} has dtype ${stored.dtype}, where ${kinds.join(", ")} can be ` +
      "read; convert the file to one of them",
  );
}
