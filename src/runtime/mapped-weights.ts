/** @file A checkpoint's tensors as the engine maps them: file, offset and length, nothing read. */
import type { DType } from "../graph/dtype.ts";
import type { ParamStorage } from "../graph/onnx.ts";
import type { Segment } from "../graph/segment.ts";
import type { Shape } from "../graph/shape.ts";
import { checkKeys, type KeyOptions } from "../weights/check.ts";
import type { WeightSet } from "../weights/checkpoint.ts";
import { externalBase } from "../weights/external-base.ts";

/** Where every declared parameter lies. `folder` is what the engine is told to map files from. */
export type MappedWeights = {
  readonly folder: string;
  readonly storage: (key: string) => ParamStorage | undefined;
};

const storedTypes: Readonly<Record<string, DType>> = {
  F32: "f32",
  F16: "f16",
  BF16: "bf16",
  I8: "i8",
  U8: "u8",
};

/** Shapes of every parameter that some segments declare, by checkpoint key. */
export function declaredShapes(segments: readonly Segment[]): Map<string, Shape> {
  return new Map(
    segments.flatMap(({ params }) => [...params].map(([key, { shape }]) => [key, shape] as const)),
  );
}

/**
 * Finds every parameter of a model in a checkpoint.
 * @throws WeightsError when keys, shapes or types differ from what the model declares
 */
export function mapWeights(
  set: WeightSet,
  declared: ReadonlyMap<string, Shape>,
  options: KeyOptions = {},
): MappedWeights {
  const stored = checkKeys(declared, set, options);
  const { base, location } = externalBase(set);
  return {
    folder: base,
    storage: (key) => {
      const tensor = stored.get(key);
      if (tensor === undefined) return undefined;
      const { dtype, file, offset, byteLength } = tensor;
      return { dtype: storedTypes[dtype], location: location(file), offset, byteLength };
    },
  };
}
