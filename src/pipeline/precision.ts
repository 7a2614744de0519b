/** @file The arithmetic of the transformer: float32, products in float16, or weights of 8 or 4 bits. */
import { ConfigError } from "../errors.ts";
import type { LinearFormat } from "../graph/quantize.ts";
import type { LayerFormats } from "../models/transformer/quantized.ts";
import type { Engine } from "../runtime/engine.ts";
import type { Device } from "../runtime/protocol.ts";
import type { WeightSet } from "../weights/checkpoint.ts";
import { isLargeLayer, type QuantizedLayer, quantizedLayers } from "../weights/quantize/format.ts";
import { halveOnLoad, type QuantizeHooks, quantizeOnLoad } from "../weights/quantize/on-load.ts";

/** Every `Precision`. */
export const precisions = ["fp32", "fp16", "int8", "w8", "w4"] as const;

/**
 * `fp32` multiplies float32 with weights as they are stored; `int8` multiplies bytes by bytes; `w8` and `w4` keep
 * weights in 8 and 4 bits; `fp16` multiplies float16 by float16 in the blocks and is for GPUs. See docs/precision.md.
 */
export type Precision = (typeof precisions)[number];

/** @throws ConfigError for arithmetic that the device does not have */
export function requirePrecision(precision: Precision | undefined, device: Device = "cpu"): void {
  if (precision === "int8" && device !== "cpu")
    throw new ConfigError(`precision int8 has no kernels on ${device}; use w8 or w4 there, or the cpu`);
}

/**
 * What only the opened device can tell: whether it computes in float16.
 * @throws ConfigError where the device does not have the arithmetic; SessionError when it cannot be used
 */
export async function requireArithmetic(engine: Engine, precision: Precision | undefined): Promise<void> {
  if (precision !== "fp16" || !(await engine.lacks()).includes("f16")) return;
  const { device } = engine.settings;
  throw new ConfigError(
    `precision fp16 needs a GPU that computes in float16 (shader-f16), and the one that ${device} finds here does not; ` +
      "use fp32, or w8 or w4 for weights that take less memory",
  );
}

/** Weights whose large layers are in float16 and are to be computed with so. */
type HalvedWeights = WeightSet & { readonly precision: "fp16" };

/**
 * The weights of a transformer as a precision needs them: what is not stored so is rounded now, see `quantizeOnLoad` and
 * `halveOnLoad`. Without a precision they stay as they are stored, quantised or not.
 * @throws ConfigError for weights that are not there in float any more; WeightsError; CancelledError
 */
export async function weightsIn(
  precision: Precision | undefined,
  weights: WeightSet,
  hooks: QuantizeHooks = {},
): Promise<WeightSet> {
  if (precision === "int8" || precision === "w8" || precision === "w4")
    return quantizeOnLoad(weights, precision, hooks);
  if (precision === "fp16") {
    const halved: HalvedWeights = { ...(await halveOnLoad(weights, hooks)), precision };
    return halved;
  }
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
  const { precision } = weights as Partial<HalvedWeights>;
  const [first] = quantizedLayers(weights.tensors).values();
  return precision ?? first?.quantization ?? "fp32";
}

/** The format of layers that are computed in float16. */
export const halves: LayerFormats = (layer) => (isLargeLayer(layer) ? { kind: "halves" } : undefined);

/** How the layers of a transformer are to be computed from these weights; see `quantizeTransformer`. */
export function formatsOf(weights: WeightSet): LayerFormats {
  if (storedPrecision(weights) === "fp16") return halves;
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
