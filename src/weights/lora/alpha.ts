/** @file How strongly a LoRA was trained to act: alpha, from wherever its file says it. */
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { WeightsError } from "../../errors.ts";
import { show } from "../file.ts";
import { isRecord, parseJson } from "../json.ts";

/** The rules of one adapter: what B A x is multiplied by in a layer of a given rank. */
export type AlphaRules = {
  /** Alpha of every layer that no pattern names; the layer's rank where it is undefined. */
  readonly alpha: number | undefined;
  /** Alpha by the end of a layer's name. */
  readonly patterns: Readonly<Record<string, number>>;
  /** Whether B A x is divided by the square root of the rank (rsLoRA) in place of the rank. */
  readonly bySquareRoot: boolean;
};

/** The key under which diffusers keeps the adapter's configuration in the header of a .safetensors file. */
export const metadataKey = "lora_adapter_metadata";

/** Without any word about it alpha is the rank, which makes the factor 1. */
export const silentRules: AlphaRules = { alpha: undefined, patterns: {}, bySquareRoot: false };

/**
 * The rules that a file carries in its header, or that an `adapter_config.json` beside it has.
 * @throws {WeightsError} when they are there and cannot be understood
 */
export async function readAlphaRules(
  file: string,
  metadata: Readonly<Record<string, string>>,
): Promise<AlphaRules> {
  const stored = metadata[metadataKey];
  if (stored !== undefined) {
    const where = `the ${metadataKey} of ${file}`;
    return parseRules(unprefixed(parseObject(new TextEncoder().encode(stored), where)), where);
  }
  const config = join(dirname(file), "adapter_config.json");
  const bytes = await readFile(config).catch(() => undefined);
  return bytes === undefined ? silentRules : parseRules(parseObject(bytes, config), config);
}

/** The alpha of one layer, and the factor that follows: alpha / rank, or alpha / √rank. */
export function alphaOf(rules: AlphaRules, target: string, rank: number): { alpha: number; scale: number } {
  const pattern = Object.keys(rules.patterns).find((key) => endsWith(target, key));
  const alpha = (pattern === undefined ? rules.alpha : rules.patterns[pattern]) ?? rank;
  return { alpha, scale: alpha / (rules.bySquareRoot ? Math.sqrt(rank) : rank) };
}

/** Patterns are whole names or their last parts; newer files mark whole names with ^. */
function endsWith(target: string, key: string): boolean {
  const name = key.replace(/^\^/, "").replace(/\$$/, "").replaceAll("\\.", ".");
  return target === name || (!key.startsWith("^") && target.endsWith(`.${name}`));
}

function parseObject(bytes: Uint8Array, where: string): Record<string, unknown> {
  const parsed = parseJson(bytes);
  if ("problem" in parsed) throw new WeightsError(`${where} ${parsed.problem}; write the LoRA again`);
  if (!isRecord(parsed.value))
    throw new WeightsError(`${where} must be an object, got ${show(parsed.value)}`);
  return parsed.value;
}

/** Keys of the header name the component first. */
function unprefixed(config: Record<string, unknown>): Record<string, unknown> {
  const entries = Object.entries(config).map(([key, value]) => [key.replace(/^transformer\./, ""), value]);
  return Object.fromEntries(entries);
}

function parseRules(config: Record<string, unknown>, where: string): AlphaRules {
  const { lora_alpha: alpha, alpha_pattern: patterns = {}, use_rslora: rs, use_dora: dora } = config;
  const isNumber = (value: unknown) => typeof value === "number" && Number.isFinite(value);
  if (alpha !== undefined && !isNumber(alpha))
    throw new WeightsError(`${where} has lora_alpha ${show(alpha)}, which must be a number`);
  if (!isRecord(patterns) || !Object.values(patterns).every(isNumber))
    throw new WeightsError(
      `${where} has alpha_pattern ${show(patterns)}, which must give a number for each layer`,
    );
  if (dora === true)
    throw new WeightsError(
      `${where} describes a DoRA, which also scales the weights; only plain LoRA can be used`,
    );
  // Both were just seen to be numbers.
  return {
    alpha: alpha as number | undefined,
    patterns: patterns as Record<string, number>,
    bySquareRoot: rs === true,
  };
}
