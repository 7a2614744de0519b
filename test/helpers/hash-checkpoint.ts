/** @file Writes hash-filled weights as a checkpoint folder, so that tests run the path that users run. */
import { rmSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";
import { openWeights, type WeightSet } from "../../src/weights/checkpoint.ts";
import { writeSafetensors } from "../../src/weights/write.ts";
import { hashWeights } from "./hash-fill.ts";

const folders: string[] = [];
afterAll(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** Float32 weights for every declared key, in a temporary folder that is removed after the last test of the file. */
export async function hashCheckpoint(shapes: ReadonlyMap<string, readonly number[]>): Promise<WeightSet> {
  const folder = await mkdtemp(join(tmpdir(), "cogvideox-hash-"));
  folders.push(folder);
  const filled = hashWeights(Object.fromEntries(shapes));
  const tensors = [...filled].map(([key, data]) => [
    key,
    { dtype: "F32" as const, shape: shapes.get(key)!, data },
  ]);
  await writeSafetensors(join(folder, "diffusion_pytorch_model.safetensors"), Object.fromEntries(tensors));
  return openWeights(folder);
}
