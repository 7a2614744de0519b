/** @file Writes LoRAs in the format that `load_lora_weights` of diffusers reads. */

import { type TensorData, writeSafetensors } from "../write.ts";
import { metadataKey } from "./alpha.ts";

/** What diffusers looks for in a folder. */
export const loraFileName = "pytorch_lora_weights.safetensors";

/** The correction of one layer as it is to be written. */
export type LoraLayerData = {
  /** `[r, in]` */
  readonly a: TensorData;
  /** `[out, r]` */
  readonly b: TensorData;
  readonly alpha: number;
};

/**
 * Writes `pytorch_lora_weights.safetensors`: `transformer.<layer>.lora_A.weight` and `lora_B.weight`, and in the header
 * the rank and alpha of every layer as PEFT's configuration has them.
 * @param layers by name, such as `transformer_blocks.0.attn1.to_q`
 * @throws {WeightsError} when data and shapes do not agree, and when the system refuses
 */
export async function writeLora(
  file: string,
  layers: ReadonlyMap<string, LoraLayerData>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const tensors: Record<string, TensorData> = {};
  for (const [target, { a, b }] of layers) {
    tensors[`transformer.${target}.lora_A.weight`] = a;
    tensors[`transformer.${target}.lora_B.weight`] = b;
  }
  const ranks = [...layers].map(([target, { a, alpha }]) => ({ target, rank: a.shape[0], alpha }));
  await writeSafetensors(file, tensors, { format: "pt", ...metadata, ...loraMetadata(ranks) });
}

/** The header entry that tells diffusers rank and alpha of every layer; without it alpha would count as the rank. */
export function loraMetadata(
  layers: readonly { readonly target: string; readonly rank: number; readonly alpha: number }[],
): Readonly<Record<string, string>> {
  const rank = mostCommon(layers.map((layer) => layer.rank));
  const alpha = mostCommon(layers.map((layer) => layer.alpha));
  const differing = (of: "rank" | "alpha", usual: number) =>
    Object.fromEntries(
      layers.filter((layer) => layer[of] !== usual).map((layer) => [layer.target, layer[of]]),
    );
  const config = {
    "transformer.r": rank,
    "transformer.lora_alpha": alpha,
    "transformer.rank_pattern": differing("rank", rank),
    "transformer.alpha_pattern": differing("alpha", alpha),
    "transformer.target_modules": layers.map(({ target }) => target).sort(),
  };
  return { [metadataKey]: JSON.stringify(config) };
}

function mostCommon(values: readonly number[]): number {
  const counts = new Map<number, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].reduce((a, b) => (b[1] > a[1] ? b : a), [0, 0])[0];
}
