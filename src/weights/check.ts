/** @file Compares the parameters a model declares with the tensors a checkpoint holds, strictly. */
import { WeightsError } from "../errors.ts";
import type { WeightSet } from "./checkpoint.ts";
import type { StoredDType } from "./dtype.ts";
import { show } from "./file.ts";
import { quantizedDType } from "./quantize/format.ts";
import type { StoredTensor } from "./safetensors.ts";

/** What may differ between a model and its checkpoint. */
export type KeyOptions = {
  /** Stored names that match one of these may be there without being declared. */
  readonly ignore?: readonly RegExp[];
  /** Groups of names for one and the same parameter, the name that counts first. Any of a group will do. */
  readonly aliases?: readonly (readonly string[])[];
};

/** T5 ties its token embedding to the encoder's: checkpoints store either name or both, `shared.weight` counts. */
export const t5Aliases: readonly (readonly string[])[] = [["shared.weight", "encoder.embed_tokens.weight"]];

const parameterDTypes: readonly StoredDType[] = ["F32", "F16", "BF16"];

/** How a model's parameters and a checkpoint's tensors differ; the lists hold names ready for a message. */
export type KeyComparison = {
  /** The stored tensor of every declared parameter that has one, by declared name. */
  readonly matched: ReadonlyMap<string, StoredTensor>;
  readonly missing: readonly string[];
  readonly unexpected: readonly string[];
  readonly misshapen: readonly string[];
  /** Parameters that are stored as something else than F32, F16 or BF16, or than what quantised ones must be. */
  readonly mistyped: readonly string[];
};

/**
 * Finds the stored tensor of every declared parameter; the keys of the result are those of `declared`.
 *
 * @throws {WeightsError} one sentence with the counts and the first three of each kind: parameters that are missing,
 *   tensors that nothing declares, tensors of another shape, and parameters that are not F32, F16 or BF16.
 */
export function checkKeys(
  declared: ReadonlyMap<string, readonly number[]>,
  found: WeightSet,
  options: KeyOptions = {},
): ReadonlyMap<string, StoredTensor> {
  const { matched, missing, unexpected, misshapen, mistyped } = compareKeys(declared, found, options);
  const faults = [
    fault("missing", missing),
    fault("unexpected", unexpected),
    fault("misshapen", misshapen),
    fault("not of dtype F32, F16 or BF16", mistyped),
  ].filter((text) => text !== undefined);
  if (faults.length > 0)
    throw new WeightsError(
      `the weights in ${found.folder} do not fit the model: ${faults.join("; ")}. ` +
        "Use the weights and the config.json of the same checkpoint",
    );
  return matched;
}

/** Compares names, shapes and types without judging; `checkKeys` is the judge. */
export function compareKeys(
  declared: ReadonlyMap<string, readonly number[]>,
  found: WeightSet,
  { ignore = [], aliases = [] }: KeyOptions = {},
): KeyComparison {
  const matched = new Map<string, StoredTensor>();
  const expected = new Set<string>();
  for (const name of declared.keys()) {
    const names = aliases.find((group) => group.includes(name)) ?? [name];
    for (const alias of names) expected.add(alias);
    const stored = names.map((alias) => found.tensors.get(alias)).find((tensor) => tensor !== undefined);
    if (stored) matched.set(name, stored);
  }
  // A pattern with the g or y flag would remember where it stopped; search does not.
  const ignored = (name: string) => ignore.some((pattern) => name.search(pattern) >= 0);
  return {
    matched,
    missing: [...declared.keys()].filter((name) => !matched.has(name)).map(show),
    unexpected: [...found.tensors.keys()].filter((name) => !expected.has(name) && !ignored(name)).map(show),
    misshapen: describeShapes(declared, matched),
    mistyped: describeDTypes(matched),
  };
}

function fault(kind: string, items: readonly string[]): string | undefined {
  if (items.length === 0) return undefined;
  return `${items.length} ${kind} (${items.slice(0, 3).join(", ")}${items.length > 3 ? ", ..." : ""})`;
}

function describeShapes(
  declared: ReadonlyMap<string, readonly number[]>,
  matched: ReadonlyMap<string, StoredTensor>,
): string[] {
  return [...matched]
    .filter(([name, { shape }]) => !sameShape(shape, declared.get(name)!))
    .map(([name, { shape }]) => `${show(name)} is [${shape}], the model needs [${declared.get(name)}]`);
}

function describeDTypes(matched: ReadonlyMap<string, StoredTensor>): string[] {
  return [...matched]
    .filter(([name, { dtype }]) => {
      const quantized = quantizedDType(name);
      return quantized === undefined ? !parameterDTypes.includes(dtype) : dtype !== quantized;
    })
    .map(([name, { dtype }]) => `${show(name)} is ${dtype}`);
}

function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((dimension, i) => dimension === b[i]);
}
