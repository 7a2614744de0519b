/** @file How quantised weights lie in a checkpoint: which matrices, under which names, in which shapes. */
import { WeightsError } from "../../errors.ts";
import type { StoredDType } from "../dtype.ts";
import { show } from "../file.ts";
import type { StoredTensor } from "../safetensors.ts";
import type { TensorLayout } from "../write.ts";

/**
 * Ways to quantise: `int8` for bytes multiplied by bytes (activations are quantised too, per row), `w8` and `w4` for
 * weights alone, in blocks.
 */
export const quantizations = ["int8", "w8", "w4"] as const;
export type Quantization = (typeof quantizations)[number];

const largestBlock: Readonly<Record<"w8" | "w4", number>> = { w8: 128, w4: 32 };

/** The engine takes powers of two from 16 on. */
const SMALLEST_BLOCK = 16;

/**
 * Elements along an input axis of this length that share a scale: 128 or 32 in all released models; fewer where those
 * would not fill the last block.
 */
export function blockFor(width: number, quantization: "w8" | "w4"): number {
  let block = largestBlock[quantization];
  while (block > SMALLEST_BLOCK && width % block !== 0) block /= 2;
  return block;
}

/**
 * The layers of a transformer whose matrices are quantised, or computed with in float16: queries, keys, values,
 * attention's output and the feed-forward maps. Everything else is small, or stands at the model's ends: norms and their
 * modulations, embeddings, the last projection.
 */
const large = /^transformer_blocks\.\d+\.(attn1\.to_(q|k|v|out\.0)|ff\.net\.(0\.proj|2))$/;

/** A layer of a checkpoint whose weights are quantised. */
export type QuantizedLayer = {
  /** The two tensors that stand for `<layer>.weight`. */
  readonly weight: string;
  readonly scale: string;
  /** Shape `[out, in]` of the matrix in float; where `in` is no multiple of 16, w8 and w4 round it up to one. */
  readonly shape: readonly [number, number];
} & (
  | { readonly quantization: "int8" }
  | { readonly quantization: "w8" | "w4"; readonly bits: 4 | 8; readonly block: number }
);

/** Whether a layer such as `transformer_blocks.0.attn1.to_q` is one of the large ones of a transformer's blocks. */
export function isLargeLayer(layer: string): boolean {
  return large.test(layer);
}

/** Whether a tensor is a matrix that quantisation applies to. */
export function isQuantizable({ name, shape }: Pick<TensorLayout, "name" | "shape">): boolean {
  return shape.length === 2 && name.endsWith(".weight") && isLargeLayer(name.slice(0, -".weight".length));
}

/** The tensors that stand for the matrix `name` `[out, in]` (ending in `.weight`), in the order they are written. */
export function quantizedLayouts(
  { name, shape }: Pick<TensorLayout, "name" | "shape">,
  quantization: Quantization,
): [weight: TensorLayout, scale: TensorLayout] {
  const [out, width] = shape;
  const named = (suffix: string, dtype: StoredDType, dims: readonly number[]) => ({
    name: name + suffix,
    dtype,
    shape: dims,
  });
  if (quantization === "int8") return [named("_int8", "I8", [width, out]), named("_scale", "F32", [out])];
  const block = blockFor(width, quantization);
  const blocks = Math.ceil(width / block);
  const bytes = (block * bitsOf[quantization]) / 8;
  return [named(`_${quantization}`, "U8", [out, blocks, bytes]), named("_scale", "F32", [out, blocks])];
}

const bitsOf: Readonly<Record<"w8" | "w4", 4 | 8>> = { w8: 8, w4: 4 };

/** The type that a tensor of this name must have, for those that stand for a quantised matrix. */
export function quantizedDType(name: string): StoredDType | undefined {
  if (name.endsWith(".weight_scale")) return "F32";
  const [, quantization] = /\.weight_(int8|w8|w4)$/.exec(name) ?? [];
  if (quantization === undefined) return undefined;
  return quantization === "int8" ? "I8" : "U8";
}

/**
 * The quantised layers among some tensors, by name such as `transformer_blocks.0.attn1.to_q`.
 * @throws {WeightsError} for a shape that no quantised matrix has
 */
export function quantizedLayers(
  tensors: ReadonlyMap<string, StoredTensor>,
): ReadonlyMap<string, QuantizedLayer> {
  const layers = new Map<string, QuantizedLayer>();
  for (const tensor of tensors.values()) {
    const [, layer, quantization] = /^(.+)\.weight_(int8|w8|w4)$/.exec(tensor.name) ?? [];
    if (layer !== undefined) layers.set(layer, layerOf(layer, quantization as Quantization, tensor));
  }
  return layers;
}

function layerOf(layer: string, quantization: Quantization, tensor: StoredTensor): QuantizedLayer {
  const names = { weight: tensor.name, scale: `${layer}.weight_scale` };
  const { shape } = tensor;
  if (quantization === "int8") {
    if (shape.length !== 2) throw wrongShape(tensor, "[in, out]");
    return { ...names, quantization, shape: [shape[1], shape[0]] };
  }
  const bits = bitsOf[quantization];
  const block = ((shape[2] ?? 0) * 8) / bits;
  if (shape.length !== 3 || block < SMALLEST_BLOCK || !Number.isInteger(Math.log2(block)))
    throw wrongShape(tensor, `[out, blocks, bytes of a block], a block being 16, 32, 64, ... elements`);
  return { ...names, quantization, bits, block, shape: [shape[0], shape[1] * block] };
}

function wrongShape({ name, shape, file }: StoredTensor, expected: string): WeightsError {
  return new WeightsError(
    `tensor ${show(name)} of ${file} has shape [${shape}], where ${expected} is needed; quantise the checkpoint again`,
  );
}

/** Shapes of all matrices as the model in float has them, by name: what an adapter for them must fit. */
export function shapesInFloat(
  tensors: ReadonlyMap<string, StoredTensor>,
): ReadonlyMap<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>();
  const layers = quantizedLayers(tensors);
  const quantized = new Set([...layers.values()].flatMap(({ weight, scale }) => [weight, scale]));
  for (const { name, shape } of tensors.values()) if (!quantized.has(name)) shapes.set(name, shape);
  for (const [layer, { shape }] of layers) shapes.set(`${layer}.weight`, shape);
  return shapes;
}
