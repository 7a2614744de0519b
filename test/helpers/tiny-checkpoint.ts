/** @file Copies of a recorded checkpoint that a test may break. */
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readBytes } from "../../src/weights/read.ts";
import { readHeader } from "../../src/weights/safetensors.ts";
import { type TensorData, writeSafetensors } from "../../src/weights/write.ts";
import { temporaryFolder } from "./command-line.ts";

export const recorded = (name: string) => join(process.cwd(), "test/fixtures/checkpoints", name);

/** A copy of a recorded checkpoint, removed when the test ends. */
export function copyCheckpoint(name: "t2v-rope" | "t2v-sincos" | "t2v-patch-t"): string {
  const folder = join(temporaryFolder(), name);
  cpSync(recorded(name), folder, { recursive: true, filter: (file) => !file.endsWith("expected") });
  return folder;
}

/** Rewrites some fields of a JSON file. */
export function editJson(file: string, change: Readonly<Record<string, unknown>>): void {
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, "utf8")), ...change }));
}

/** Rewrites a safetensors file after `change` has added, removed or replaced tensors. */
export async function editTensors(
  file: string,
  change: (tensors: Record<string, TensorData>) => void,
): Promise<void> {
  const tensors: Record<string, TensorData> = {};
  for (const [name, stored] of (await readHeader(file)).tensors)
    tensors[name] = { dtype: stored.dtype, shape: stored.shape, data: await readBytes(stored) };
  change(tensors);
  await writeSafetensors(file, tensors);
}

/** A safetensors file with this header, true or not, and as much data. */
export function writeRawTensors(file: string, header: object, dataBytes: number): void {
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  writeFileSync(file, Buffer.concat([length, json, Buffer.alloc(dataBytes)]));
}
