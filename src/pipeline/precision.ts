/** @file The arithmetic of the transformer: float32, or weights of 8 or 4 bits. */
import { ConfigError } from "../errors.ts";
import type { LinearFormat } from "../graph/quantize.ts";
import type { LayerFormats } from "../models/transformer/quantized.ts";
import type { Device } from "../runtime/protocol.ts";
import type { WeightSet } from "../weights/checkpoint.ts";
import { type QuantizedLayer, quantizedLayers } from "../weights/quantize/format.ts";
import { type QuantizeHooks, quantizeOnLoad } from "../weights/quantize/on-load.ts";

export const precisions = ["fp32", "fp16", "int8", "w8", "w4"] as const;

/**
 * `fp32` multiplies float32 with weights as they are stored; `int8` multiplies bytes by bytes; `w8` and `w4` keep
 * weights in 8 and 4 bits; `fp16` is for GPUs. See docs/precision.md.
 */
export type Precision = (typeof precisions)[number];

/** @throws ConfigError for arithmetic that the device does not have */
export function requirePrecision(precision: Precision | undefined, device: Device = "cpu"): void {
  if (precision === "fp16")
    throw new ConfigError(
      device === "cpu"
        ? "precision fp16 is for GPUs, and processors compute it by way of float32; use int8, w8 or fp32 on the cpu"
        : `precision fp16 is not there yet on ${device}; use fp32, or w8 or w4 for weights that take less memory`,
    );
  if (precision === "int8" && device !== "cpu")
    throw new ConfigError(`precision int8 has no kernels on ${device}; use w8 or w4 there, or the cpu`);
}

/**
 * The weights of a transformer as a precision needs them: what is not stored so is quantised now, see `quantizeOnLoad`.
 * Without a precision they stay as they are stored, quantised or not.
 * @throws ConfigError for weights that are not there in float any more; WeightsError; CancelledError
 */
export async function weightsIn(
  precision: Precision | undefined,
  weights: WeightSet,
  hooks: QuantizeHooks = {},
): Promise<WeightSet> {
  if (precision === "int8" || precision === "w8" || precision === "w4")
    return quantizeOnLoad(weights, precision, hooks);
  const stored = storedPrecision(weights);
  if (precision === "fp32" && stored !== "fp32")
    throw new ConfigError(
      `the weights in ${weights.folder} are quantised to ${stored}; leave --precision out, ` +
        "or use the original checkpoint for fp32",
    );
  return weights;
}

/** The precision that some weights make a transformer compute in. */
export function storedPrecision(weights: WeightSet): Precision {
  const [first] = quantizedLayers(weights.tensors).values();
  return first?.quantization ?? "fp32";
}

/** How the layers of a transformer are to be computed from these weights; see `quantizeTransformer`. */
export function formatsOf(weights: WeightSet): LayerFormats {
  const formats = new Map(
    [...quantizedLayers(weights.tensors)].map(([name, layer]) => [name, formatOf(layer)]),
  );
  return (layer) => formats.get(layer);
}

function formatOf(layer: QuantizedLayer): LinearFormat {
  const { weight, scale } = layer;
  if (layer.quantization === "int8") return { kind: "bytes", weight, scale };
  return { kind: "blocks", weight, scale, bits: layer.bits, block: layer.block };
}
