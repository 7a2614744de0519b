/** @file One entry of the cache: named floats in a .safetensors file that knows its key and the digest of its data. */
import { createHash } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { SessionError, WeightsError } from "../../errors.ts";
import { f16ToFloats, floatsToF16 } from "../../weights/cast.ts";
import { exists } from "../../weights/file.ts";
import { readBytes } from "../../weights/read.ts";
import { readHeader } from "../../weights/safetensors.ts";
import { type TensorData, writeSafetensors } from "../../weights/write.ts";
import type { Digest } from "./key.ts";

/** Row-major values of some shape. */
export type Floats = { readonly shape: readonly number[]; readonly data: Float32Array };

/** How values lie on disk. Half precision keeps 11 bits, far more than the noise that training adds. */
export type Precision = "f16" | "f32";

/** Tensors by name. */
export type Entry = Readonly<Record<string, Floats>>;

/**
 * Writes an entry, whole or not at all, and returns its values as they will be read: rounded where `precision` is f16.
 * What half precision cannot hold (beyond 65504) is kept in full precision.
 * @throws SessionError for values that are not finite; WeightsError where the system refuses
 */
export async function writeEntry(
  file: string,
  key: Digest,
  entry: Entry,
  precision: Precision,
): Promise<Entry> {
  const stored = Object.entries(entry).map(([name, floats]) => {
    if (!floats.data.every(Number.isFinite))
      throw new SessionError(
        `the encoder gave values that are not finite (${name}); they are not kept: check its weights and the clip`,
      );
    return [name, storedAs(floats, precision)] as const;
  });
  const bytes = new Map(stored.map(([name, { data }]) => [name, bytesOf(data)]));
  await mkdir(dirname(file), { recursive: true });
  await writeSafetensors(file, Object.fromEntries(stored), { key, sha256: checksum(bytes) });
  return Object.fromEntries(
    stored.map(([name, { dtype, shape, data }]) => [name, { shape, data: floatsOf(dtype, bytesOf(data)) }]),
  );
}

/** The entry, or why there is none: nothing has its name, or what has is not whole or not the entry of this key. */
export async function readEntry(
  file: string,
  key: Digest,
  names: readonly string[],
): Promise<Entry | "absent" | "damaged"> {
  if (!(await exists(file))) return "absent";
  try {
    const { metadata, tensors } = await readHeader(file);
    if (metadata.key !== key || !names.every((name) => tensors.has(name))) return "damaged";
    const bytes = new Map<string, Uint8Array>();
    for (const stored of tensors.values()) bytes.set(stored.name, await readBytes(stored));
    if (checksum(bytes) !== metadata.sha256) return "damaged";
    return Object.fromEntries(
      names.map((name) => {
        const { dtype, shape } = tensors.get(name)!;
        return [name, { shape, data: floatsOf(dtype, bytes.get(name)!) }];
      }),
    );
  } catch (error) {
    if (error instanceof WeightsError) return "damaged";
    throw error;
  }
}

function storedAs({ shape, data }: Floats, precision: Precision): TensorData {
  const half = precision === "f16" ? floatsToF16(data) : null;
  const isInfinite = (bits: number) => (bits & 0x7c00) === 0x7c00;
  return half === null || half.some(isInfinite)
    ? { dtype: "F32", shape, data }
    : { dtype: "F16", shape, data: half };
}

/** A copy that begins where any kind of array may begin. */
function bytesOf(data: ArrayBufferView): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice();
}

function floatsOf(dtype: string, { buffer }: Uint8Array): Float32Array {
  return dtype === "F16" ? f16ToFloats(new Uint16Array(buffer)) : new Float32Array(buffer);
}

function checksum(bytes: ReadonlyMap<string, Uint8Array>): Digest {
  const hash = createHash("sha256");
  for (const name of [...bytes.keys()].sort()) hash.update(name).update(bytes.get(name)!);
  return hash.digest("hex");
}
