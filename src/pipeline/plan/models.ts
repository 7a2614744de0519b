/** @file What a plan has to know of a checkpoint: its configurations, and how its weights are stored where they are there. */
import { join } from "node:path";
import { ConfigError } from "../../errors.ts";
import { parseT5Config, type T5Config } from "../../models/t5/config.ts";
import { parseTransformerConfig, type TransformerConfig } from "../../models/transformer/config.ts";
import type { LayerFormats } from "../../models/transformer/quantized.ts";
import { parseVaeConfig, type VaeConfig } from "../../models/vae/config.ts";
import { openWeights, type WeightSet } from "../../weights/checkpoint.ts";
import { readJson } from "../../weights/json-file.ts";
import { blockFor, isQuantizable } from "../../weights/quantize/format.ts";
import { formatsOf, halves, type Precision, storedPrecision } from "../precision.ts";

/** A model to plan with; without weights, they count as the released ones, in bfloat16. */
export type PlannedModel<C> = { readonly config: C; readonly weights: WeightSet | null };

/** The models of a checkpoint. */
export type PlannedModels = {
  readonly transformer: PlannedModel<TransformerConfig>;
  readonly vae: PlannedModel<VaeConfig>;
  readonly textEncoder: PlannedModel<T5Config>;
};

/**
 * Reads the configurations of a checkpoint folder, and the headers of its weights where it has any.
 * @throws ConfigError for a missing or a bad configuration; WeightsError for bad files
 */
export async function readModels(folder: string): Promise<PlannedModels> {
  const [transformer, vae, textEncoder] = await Promise.all([
    readModel(folder, "transformer", parseTransformerConfig),
    readModel(folder, "vae", parseVaeConfig),
    readModel(folder, "text_encoder", parseT5Config),
  ]);
  return { transformer, vae, textEncoder };
}

async function readModel<C>(
  folder: string,
  name: string,
  parse: (json: unknown, source: string) => C,
): Promise<PlannedModel<C>> {
  const source = join(folder, name, "config.json");
  const config = parse(await readJson(source), source);
  const weights = await openWeights(join(folder, name)).catch((error: Error) => {
    if (/holds no weights/.test(error.message)) return null;
    throw error;
  });
  return { config, weights };
}

/** Whether a parameter has to be widened before it is used. */
export function isNarrowIn({ weights }: PlannedModel<unknown>): (key: string) => boolean {
  return (key) => (weights?.tensors.get(key)?.dtype ?? "BF16") !== "F32";
}

/** The precision that a run computes in. @throws ConfigError where weights are quantised to another one */
export function plannedPrecision(
  { weights }: PlannedModel<unknown>,
  asked: Precision | undefined,
): Precision {
  const stored = weights === null ? "fp32" : storedPrecision(weights);
  if (stored !== "fp32" && asked !== undefined && asked !== stored)
    throw new ConfigError(
      `the weights in ${weights!.folder} are quantised to ${stored}, and ${asked} was asked for; leave --precision out`,
    );
  return asked ?? stored;
}

/** How the transformer's layers will be computed in a precision, whether they are stored so or will be quantised. */
export function plannedFormats(
  { config, weights }: PlannedModel<TransformerConfig>,
  precision: Precision,
): LayerFormats {
  if (precision === "fp32") return () => undefined;
  if (precision === "fp16") return halves;
  if (weights !== null && storedPrecision(weights) === precision) return formatsOf(weights);
  return (layer) => {
    if (!isQuantizable({ name: `${layer}.weight`, shape: [1, 1] })) return undefined;
    const names = { weight: `${layer}.weight_${precision}`, scale: `${layer}.weight_scale` };
    if (precision === "int8") return { ...names, kind: "bytes" };
    const width = layer.endsWith("ff.net.2") ? 4 * config.width : config.width;
    return { ...names, kind: "blocks", bits: precision === "w8" ? 8 : 4, block: blockFor(width, precision) };
  };
}
