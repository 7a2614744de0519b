/** @file The weights of LPIPS from the safetensors files that a user gives. */
import { WeightsError } from "../../errors.ts";
import { type Shape, sameShape, showShape } from "../../graph/shape.ts";
import { readFloats } from "../../weights/read.ts";
import { readHeader, type StoredTensor } from "../../weights/safetensors.ts";
import { lpipsParams } from "./lpips.ts";

/** Values under the keys of `lpipsParams`. */
export type LpipsWeights = ReadonlyMap<string, { readonly shape: Shape; readonly data: Float32Array }>;

/**
 * Reads what `lpips` declares: torchvision's VGG-16 (`features.0.weight` and so on; its classifier is left out) and the
 * five rows of the LPIPS release (`lin0.model.1.weight` to `lin4.model.1.weight`), from one file or spread over several.
 * @throws WeightsError when a key is in none of the files or has another shape
 */
export async function readLpips(files: readonly string[]): Promise<LpipsWeights> {
  const stored = new Map<string, StoredTensor>();
  for (const file of files)
    for (const [key, tensor] of (await readHeader(file)).tensors) stored.set(key, tensor);
  const found = new Map<string, { readonly shape: Shape; readonly data: Float32Array }>();
  for (const [key, shape] of lpipsParams()) {
    const tensor = stored.get(key);
    if (tensor === undefined)
      throw new WeightsError(
        `${files.join(", ")}: no tensor ${key}; LPIPS needs VGG-16 as torchvision saves it (features.N.weight, ` +
          "features.N.bias) and lin0 to lin4 (linK.model.1.weight) of the LPIPS release",
      );
    if (!sameShape(tensor.shape, shape))
      throw new WeightsError(
        `${tensor.file}: ${key} is ${showShape(tensor.shape)}, LPIPS with VGG-16 has ${showShape(shape)}`,
      );
    found.set(key, { shape, data: await readFloats(tensor) });
  }
  return found;
}
