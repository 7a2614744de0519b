/** @file LoRAs on the transformer of a pipeline: read once, mapped as the other weights are, never merged into them. */
import { realpath } from "node:fs/promises";
import { ConfigError } from "../errors.ts";
import { adapterParams, type TransformerAdapter } from "../models/transformer/adapters.ts";
import type { WeightSet } from "../weights/checkpoint.ts";
import { checkAdapter, type LoraAdapter, readLora } from "../weights/lora/adapter.ts";
import { shapesInFloat } from "../weights/quantize/format.ts";
import type { StoredTensor } from "../weights/safetensors.ts";
import { recipeLora } from "./model-name.ts";

/** A LoRA to be used, and how strongly. */
export type LoraRequest = {
  /** A file, or a folder with `pytorch_lora_weights.safetensors`; see `readLora` for the formats. */
  readonly file: string;
  /** Multiplies what the LoRA was trained to add; 1 unless given. */
  readonly scale?: number;
  /** Alpha, for files that do not say it or say it wrongly. */
  readonly alpha?: number;
};

/** Weights with adapters lying on them. */
type AdaptedWeights = WeightSet & {
  readonly adapters: readonly TransformerAdapter[];
  readonly loras: readonly LoraRequest[];
};

/**
 * The weights with the matrices of LoRAs beside them, from which a `Denoiser` takes both. Several LoRAs add up.
 * @throws {WeightsError} when a file holds no LoRA, or one for another model
 */
export async function withLoras(weights: WeightSet, loras: readonly LoraRequest[]): Promise<WeightSet> {
  if (loras.length === 0) return weights;
  const shapes = shapesInFloat(weights.tensors);
  const tensors = new Map(weights.tensors);
  const realPaths = new Map(weights.realPaths);
  const adapters: TransformerAdapter[] = [];
  for (const [i, { file, scale = 1, alpha }] of loras.entries()) {
    if (!Number.isFinite(scale)) throw new ConfigError(`the scale of ${file} must be a number, got ${scale}`);
    const lora = await readLora(file, { alpha });
    checkAdapter(lora, shapes);
    const adapter = asAdapter(lora, scale, `lora${i}`);
    adapters.push(adapter);
    for (const [key, tensor] of parameters(lora, adapter)) {
      tensors.set(key, tensor);
      realPaths.set(tensor.file, realPaths.get(tensor.file) ?? (await realpath(tensor.file)));
    }
  }
  const totalBytes = [...tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
  const adapted: AdaptedWeights = { ...weights, tensors, realPaths, totalBytes, adapters, loras };
  return adapted;
}

/** The adapters that lie on some weights, with their scales multiplied by `scale`. */
export function adaptersOf(weights: WeightSet, scale = 1): TransformerAdapter[] {
  const { adapters = [] } = weights as Partial<AdaptedWeights>;
  const scaled = (layers: TransformerAdapter["layers"]) =>
    new Map([...layers].map(([target, layer]) => [target, { ...layer, scale: layer.scale * scale }]));
  return adapters.map(({ name, layers }) => ({ name, layers: scaled(layers) }));
}

/** What a recipe says of the LoRAs on some weights: files and scales. */
export function lorasOf(weights: WeightSet, scale = 1): { readonly file: string; readonly scale: number }[] {
  const { loras = [] } = weights as Partial<AdaptedWeights>;
  return loras.map((lora) => ({ file: recipeLora(lora.file), scale: (lora.scale ?? 1) * scale }));
}

function asAdapter({ layers }: LoraAdapter, scale: number, name: string): TransformerAdapter {
  const entries = [...layers].map(
    ([target, layer]) => [target, { rank: layer.rank, scale: layer.scale * scale }] as const,
  );
  return { name, layers: new Map(entries) };
}

function* parameters(lora: LoraAdapter, adapter: TransformerAdapter): Generator<[string, StoredTensor]> {
  for (const { key, layer, matrix } of adapterParams(adapter))
    yield [key, { ...lora.layers.get(layer)![matrix], name: key }];
}
