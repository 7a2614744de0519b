/** @file Plans the conversion of a LoRA between the names and the habits of diffusers and SAT. */
import { WeightsError } from "../../errors.ts";
import { type ConversionPlan, planConversion } from "../convert/plan.ts";
import type { Layout } from "../convert/table.ts";
import type { StoredTensor } from "../safetensors.ts";
import type { LoraAdapter } from "./adapter.ts";
import { loraMetadata } from "./write.ts";

export type LoraPlan = {
  readonly plan: ConversionPlan;
  /** What the header of the new file says: rank and alpha. */
  readonly metadata: Readonly<Record<string, string>>;
};

/**
 * Plans a LoRA in another layout. Alpha travels in the header of the file; for SAT, which takes it from the training
 * configuration (`lora_alpha`), it must be the same for every layer.
 * @throws {WeightsError} when ranks or alphas differ and SAT is the goal
 */
export function planLora(adapter: LoraAdapter, from: Layout, to: Layout): LoraPlan {
  const named = new Map([...tensorsOf(adapter)].map((tensor) => [tensor.name, tensor]));
  const plan = { ...planConversion(named, "lora", "diffusers", to), from };
  const layers = [...adapter.layers].map(([target, { rank, scale }]) => ({
    target,
    rank,
    alpha: scale * rank,
  }));
  if (to === "diffusers") return { plan, metadata: { format: "pt", ...loraMetadata(layers) } };
  const [{ rank, alpha }] = layers;
  if (layers.some((layer) => layer.rank !== rank || layer.alpha !== alpha))
    throw new WeightsError(
      `the layers of the LoRA ${adapter.source} have different ranks or alphas, and SAT has one of each for all; ` +
        "fuse it into the weights instead (--fuse-lora)",
    );
  return { plan, metadata: { format: "pt", lora_r: String(rank), lora_alpha: String(alpha) } };
}

function* tensorsOf({ layers }: LoraAdapter): Generator<StoredTensor> {
  for (const [target, { a, b }] of layers) {
    yield { ...a, name: `transformer.${target}.lora_A.weight` };
    yield { ...b, name: `transformer.${target}.lora_B.weight` };
  }
}
