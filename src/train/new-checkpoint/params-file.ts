/** @file The parameters of one part of a checkpoint as float32 in memory: read from its folder, written to it. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Shape } from "../../graph/shape.ts";
import { floatsToBf16, floatsToF16 } from "../../weights/cast.ts";
import { openWeights, type WeightSet } from "../../weights/checkpoint.ts";
import { exists } from "../../weights/file.ts";
import { readFloats } from "../../weights/read.ts";
import { type TensorData, writeSafetensors } from "../../weights/write.ts";
import type { ComponentName } from "./spec.ts";

/** A parameter's values, row-major. */
export type Param = { readonly shape: Shape; readonly data: Float32Array };

/** Parameters by checkpoint key. */
export type Params = ReadonlyMap<string, Param>;

/** How parameters are stored. */
export type ParamDType = "f32" | "bf16" | "f16";

const encoders: Readonly<Record<ParamDType, (param: Param) => TensorData>> = {
  f32: ({ shape, data }) => ({ dtype: "F32", shape, data }),
  bf16: ({ shape, data }) => ({ dtype: "BF16", shape, data: floatsToBf16(data) }),
  f16: ({ shape, data }) => ({ dtype: "F16", shape, data: floatsToF16(data) }),
};

/** The official file names. */
const fileNames: Readonly<Record<ComponentName, string>> = {
  text_encoder: "model.safetensors",
  transformer: "diffusion_pytorch_model.safetensors",
  vae: "diffusion_pytorch_model.safetensors",
};

/**
 * Reads every tensor of a part of a checkpoint, whatever dtype and however many files it is stored in.
 * @throws WeightsError when the files are broken, or hold something else than floats
 */
export async function readParams({ tensors }: WeightSet): Promise<Params> {
  const params = new Map<string, Param>();
  for (const [key, stored] of tensors)
    params.set(key, { shape: stored.shape, data: await readFloats(stored) });
  return params;
}

/**
 * Writes a part of the checkpoint in `folder` as one file, which takes the place of what was there, shards too, only when
 * it is complete. The part's folder must exist.
 * @throws WeightsError when shards there are broken, and when the system refuses
 */
export async function writeParams(
  folder: string,
  component: ComponentName,
  params: Params,
  dtype: ParamDType,
): Promise<void> {
  const file = join(folder, component, fileNames[component]);
  const index = `${file}.index.json`;
  const shards = (await exists(index))
    ? [...(await openWeights(join(folder, component))).realPaths.keys()]
    : [];
  const tensors = [...params].map(([key, param]) => [key, encoders[dtype](param)] as const);
  await writeSafetensors(file, Object.fromEntries(tensors), { format: "pt" });
  // As long as there is an index, its shards are what counts.
  await rm(index, { force: true });
  for (const shard of shards) if (shard !== file) await rm(shard, { force: true });
}
