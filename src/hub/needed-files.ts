/** @file Which files of a repository a checkpoint needs: one set of weights for each model, and what describes them. */
import { posix } from "node:path";
import { WeightsError } from "../errors.ts";
import { isRecord } from "../weights/json.ts";
import { checkRepoPath, show } from "./repo-path.ts";

/** A folder of a checkpoint that `model_index.json` names. */
export type Component = {
  readonly name: string;
  /** Whether it has weights; schedulers and tokenizers have none. */
  readonly isModel: boolean;
};

/** What to fetch. Which shards there are, an index says when it has been read. */
export type NeededFiles = {
  /** Configurations, tokenizers and indexes: small. */
  readonly small: readonly string[];
  /** Weights in one file. */
  readonly weights: readonly string[];
  /** Those of `small` that name shards. */
  readonly indexes: readonly string[];
};

export const indexFile = "model_index.json";

/** The names under which weights are looked for, first match first, as weights/checkpoint.ts does. */
const layouts = [
  "diffusion_pytorch_model.safetensors.index.json",
  "diffusion_pytorch_model.safetensors",
  "model.safetensors",
  "model.safetensors.index.json",
] as const;

/**
 * The components that a parsed `model_index.json` lists; those set to null are left out.
 * @throws WeightsError where it lists none, or one whose name is no folder
 */
export function listedComponents(json: unknown, source: string): Component[] {
  const entries = isRecord(json) ? Object.entries(json) : [];
  const components = entries.flatMap(([name, value]) => {
    if (name.startsWith("_") || !Array.isArray(value) || typeof value[1] !== "string") return [];
    const isModel = !/Scheduler$|Tokenizer|Processor$|Extractor$/.test(value[1]);
    return [{ name: checkRepoPath(name, source), isModel }];
  });
  if (components.length > 0) return components;
  throw new WeightsError(
    `${source} lists no components, such as ["diffusers", "AutoencoderKLCogVideoX"]; it is no pipeline`,
  );
}

/** The texts of the licence and of the model's page that stand beside a checkpoint. */
export function licenceFiles(paths: Iterable<string>): string[] {
  return [...paths].filter((path) => /^(licen[cs]e|notice)(\.(md|txt))?$/i.test(path));
}

/**
 * The files of the components, out of all paths there are. Variants (`.fp16.`), pickles, Flax and ONNX are left out.
 * @throws WeightsError where a component has no configuration, or no safetensors weights
 */
export function neededFiles(
  paths: readonly string[],
  components: readonly Component[],
  source: string,
): NeededFiles {
  const needed = { small: [] as string[], weights: [] as string[], indexes: [] as string[] };
  for (const { name, isModel } of components) {
    const names = paths.filter((path) => posix.dirname(path) === name).map((path) => posix.basename(path));
    const small = isModel ? names.filter((file) => file === "config.json") : names.filter(describes);
    if (small.length === 0) throw incomplete(source, name, isModel ? "no config.json" : "no files");
    needed.small.push(...small.map((file) => `${name}/${file}`));
    if (!isModel) continue;
    const layout = layouts.find((file) => names.includes(file));
    if (layout === undefined) throw incomplete(source, name, noWeights(names));
    (layout.endsWith(".json") ? needed.indexes : needed.weights).push(`${name}/${layout}`);
  }
  return { ...needed, small: [...needed.small, ...needed.indexes] };
}

/**
 * The shards that a parsed index of weights names, as paths in the repository.
 * @throws WeightsError for an index without shards, or with one that leads elsewhere
 */
export function shardsOf(json: unknown, index: string): string[] {
  const map = isRecord(json) ? json.weight_map : undefined;
  const names = isRecord(map) ? [...new Set(Object.values(map))] : [];
  if (names.length === 0) throw new WeightsError(`${index} names no weights; its weight_map is ${show(map)}`);
  return names.map((name) => {
    if (typeof name === "string" && name.endsWith(".safetensors") && !name.includes("/"))
      return checkRepoPath(posix.join(posix.dirname(index), name), index);
    throw new WeightsError(`${index} names ${show(name)} where a .safetensors file of its folder is needed`);
  });
}

/** Configurations and vocabularies of schedulers and tokenizers. */
function describes(file: string): boolean {
  return /\.(json|model|txt)$/.test(file);
}

function noWeights(names: readonly string[]): string {
  const pickled = names.filter((name) => /\.(bin|pt|pth|ckpt|msgpack|h5)$/.test(name));
  if (pickled.length === 0) return "no weights under an official name";
  return `only weights that are not read because they can run code (${pickled.slice(0, 3).join(", ")})`;
}

function incomplete(source: string, component: string, what: string): WeightsError {
  return new WeightsError(
    `${source} has ${what} for the component ${component}; it is no checkpoint in the official layout`,
  );
}
