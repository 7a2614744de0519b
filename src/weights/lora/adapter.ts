/** @file A LoRA: low-rank corrections for layers of a transformer, read from any of the formats it is kept in. */
import { WeightsError } from "../../errors.ts";
import { planConversion } from "../convert/plan.ts";
import { openSource, recognize, type WeightSource } from "../convert/source.ts";
import { countMatches } from "../convert/table.ts";
import { show } from "../file.ts";
import { readFloats } from "../read.ts";
import type { StoredTensor } from "../safetensors.ts";
import { type AlphaRules, alphaOf, readAlphaRules } from "./alpha.ts";
import { type LoraRole, parseLoraName, unreadableKind } from "./names.ts";

/** The correction of one layer: W x + scale · B A x. */
export type LoraLayer = {
  /** `[r, in]`; `[r, in, kh, kw]` on a convolution */
  readonly a: StoredTensor;
  /** `[out, r]`; `[out, r, 1, 1]` on a convolution */
  readonly b: StoredTensor;
  readonly rank: number;
  readonly alpha: number;
  /** alpha / rank, unless the file says otherwise */
  readonly scale: number;
};

/** A LoRA by the layers it corrects, such as `transformer_blocks.0.attn1.to_q`. */
export type LoraAdapter = {
  /** Where it comes from, for messages. */
  readonly source: string;
  readonly layers: ReadonlyMap<string, LoraLayer>;
};

export type ReadLoraOptions = {
  /** Alpha of every layer, whatever the file says. */
  readonly alpha?: number;
};

/** SAT does not keep alpha with the weights; its configurations have 1. */
const satAlpha = 1;

/**
 * Reads a LoRA of PEFT or diffusers (`pytorch_lora_weights.safetensors`), of older diffusers and Kohya's programs, or of
 * a SAT checkpoint. Where a format has no alpha it is the rank (factor 1), and 1 for SAT (factor 1 / rank).
 * @throws {WeightsError} when the file holds no LoRA, one of a kind that is not plain, or one that is not complete
 */
export async function readLora(path: string, { alpha }: ReadLoraOptions = {}): Promise<LoraAdapter> {
  const source = await openSource(path, "lora");
  const isSat = countMatches(source.tensors.keys(), "lora", "sat") > 0;
  const tensors = isSat ? inDiffusersNames(source) : source.tensors;
  const found = group(source, tensors);
  const rules: AlphaRules = isSat
    ? { alpha: satAlpha, patterns: {}, bySquareRoot: false }
    : await readAlphaRules(source.path, source.metadata);
  const layers = new Map<string, LoraLayer>();
  for (const [target, roles] of found) layers.set(target, await layerOf(source, target, roles, rules, alpha));
  return { source: source.path, layers };
}

/**
 * Makes sure that a LoRA fits the weights it is to correct.
 * @param shapes of the model's parameters, by checkpoint key
 * @throws {WeightsError} naming the first layer that does not fit, with both shapes
 */
export function checkAdapter(adapter: LoraAdapter, shapes: ReadonlyMap<string, readonly number[]>): void {
  for (const [target, { a, b }] of adapter.layers) {
    const weight = shapes.get(`${target}.weight`);
    if (weight === undefined)
      throw new WeightsError(
        `the LoRA ${adapter.source} corrects the layer ${show(target)}, which this model does not have; ` +
          "use a LoRA that was trained on this model",
      );
    if (a.shape.slice(1).join() === weight.slice(1).join() && b.shape[0] === weight[0]) continue;
    throw new WeightsError(
      `the LoRA ${adapter.source} was made for another model: the layer ${show(target)} has weights [${weight}] here, ` +
        `and its matrices are [${a.shape}] and [${b.shape}]; use a LoRA that was trained on a model of this size`,
    );
  }
}

function inDiffusersNames(source: WeightSource): Map<string, StoredTensor> {
  const { component, layout } = recognize(source, "lora");
  const { tensors } = planConversion(source.tensors, component, layout, "diffusers");
  return new Map(tensors.map(({ name, pieces: [{ from }] }) => [name, { ...from, name }]));
}

type Roles = Partial<Record<LoraRole, StoredTensor>>;

function group(source: WeightSource, tensors: ReadonlyMap<string, StoredTensor>): Map<string, Roles> {
  const found = new Map<string, Roles>();
  for (const [name, tensor] of tensors) {
    const kind = unreadableKind(name);
    if (kind) throw wrong(source, `tensor ${show(name)} makes it ${kind}; only plain LoRA can be used`);
    const meaning = parseLoraName(name);
    if (meaning === undefined)
      throw wrong(source, `tensor ${show(name)} has no name of a LoRA; give a file that holds nothing else`);
    const roles = found.get(meaning.target) ?? {};
    if (roles[meaning.role])
      throw wrong(source, `it has two tensors for ${meaning.role} of the layer ${show(meaning.target)}`);
    found.set(meaning.target, { ...roles, [meaning.role]: tensor });
  }
  if (found.size === 0) throw wrong(source, "it holds no tensors");
  return found;
}

async function layerOf(
  source: WeightSource,
  target: string,
  { a, b, alpha: stored }: Roles,
  rules: AlphaRules,
  given: number | undefined,
): Promise<LoraLayer> {
  if (!a || !b)
    throw wrong(source, `the layer ${show(target)} lacks its matrix ${a ? "B" : "A"}; write the file again`);
  const rank = a.shape[0];
  const fits = a.shape.length >= 2 && b.shape.length === a.shape.length && b.shape[1] === rank && rank > 0;
  if (!fits || b.shape.slice(2).some((size) => size !== 1))
    throw wrong(
      source,
      `the matrices of the layer ${show(target)} are [${a.shape}] and [${b.shape}], and must be [rank, in] and [out, rank]`,
    );
  for (const { name, dtype } of [a, b])
    if (!["F32", "F16", "BF16"].includes(dtype))
      throw wrong(source, `tensor ${show(name)} is ${dtype}; F32, F16 or BF16 is needed`);
  const own = given ?? (stored ? (await readFloats(stored))[0] : undefined);
  const { alpha, scale } = alphaOf(
    own === undefined ? rules : { ...rules, alpha: own, patterns: {} },
    target,
    rank,
  );
  return { a, b, rank, alpha, scale };
}

function wrong(source: WeightSource, what: string): WeightsError {
  return new WeightsError(`${source.path} is not a LoRA that can be used: ${what}`);
}
