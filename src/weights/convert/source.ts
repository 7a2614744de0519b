/** @file Opens whatever weights come in: one file, a folder of shards, a checkpoint of SAT, a LoRA. */
import { readdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { WeightsError } from "../../errors.ts";
import { openWeights } from "../checkpoint.ts";
import { fileError, show, statFile } from "../file.ts";
import { parseLoraName } from "../lora/names.ts";
import { readHeader, type StoredTensor } from "../safetensors.ts";
import { openTorchFile, torchExtensions } from "../torch-file.ts";
import { type Component, components, countMatches, type Layout, layouts } from "./table.ts";

/** Weights as they were found. */
export type WeightSource = {
  /** The file, or the folder of the shards. */
  readonly path: string;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Free text of a .safetensors file. */
  readonly metadata: Readonly<Record<string, string>>;
};

/** What some weights are, as their names tell. */
export type Recognized = { readonly component: Component; readonly layout: Layout };

/** Single files that folders hold, first match first; what is not among them is looked for as diffusers does. */
const knownFiles: readonly { readonly name: string; readonly component: Component }[] = [
  { name: "pytorch_lora_weights.safetensors", component: "lora" },
  { name: "adapter_model.safetensors", component: "lora" },
  { name: "mp_rank_00_model_states.pt", component: "transformer" },
  { name: "3d-vae.pt", component: "vae" },
];

/**
 * Opens a .safetensors file, a file of `torch.save`, a folder of weights, a folder that SAT trained into (its `latest`
 * names the iteration), or a component of a diffusers checkpoint folder (the transformer unless told otherwise).
 * @throws {WeightsError} when there is nothing, or the format is broken
 */
export async function openSource(path: string, component?: Component): Promise<WeightSource> {
  if ((await statFile("read weights", path)).isDirectory()) return openFolder(path, component);
  if (torchExtensions.test(path)) return { path, tensors: (await openTorchFile(path)).tensors, metadata: {} };
  if (path.endsWith(".safetensors")) {
    const { tensors, metadata } = await readHeader(path);
    return { path, tensors, metadata };
  }
  throw new WeightsError(
    `${path} is neither a .safetensors file nor one of PyTorch (.pt, .pth, .bin, .ckpt); give one of them or a folder`,
  );
}

async function openFolder(folder: string, component?: Component): Promise<WeightSource> {
  const names = await readdir(folder).catch((cause) => {
    throw fileError("read weights", folder, cause);
  });
  if (names.includes("model_index.json") && component !== "lora")
    return openFolder(join(folder, component ?? "transformer"), component);
  if (names.includes("latest")) return openFolder(join(folder, await latestIteration(folder)), component);
  refuseSeveralRanks(folder, names);
  const known = knownFiles.find(
    (file) => names.includes(file.name) && (component === undefined || fits(file.component, component)),
  );
  if (known) return openSource(join(folder, known.name), component);
  if (component === "lora") return openSource(join(folder, onlyFile(folder, names)), component);
  return { path: folder, tensors: (await openWeights(folder)).tensors, metadata: {} };
}

/** The LoRA of a folder that has it under a name of its own. @throws {WeightsError} unless one file can be meant */
function onlyFile(folder: string, names: readonly string[]): string {
  const files = names.filter((name) => name.endsWith(".safetensors"));
  if (files.length === 1) return files[0];
  throw new WeightsError(
    files.length === 0
      ? `${folder} holds no LoRA; expected pytorch_lora_weights.safetensors, adapter_model.safetensors or one other ` +
          ".safetensors file"
      : `${folder} holds ${files.length} files that may be meant (${files.map(show).join(", ")}); name the one to use`,
  );
}

/** What SAT saves for its transformer also holds the LoRA that was trained with it. */
function fits(held: Component, wanted: Component): boolean {
  return held === wanted || (held === "transformer" && wanted === "lora");
}

async function latestIteration(folder: string): Promise<string> {
  const file = join(folder, "latest");
  const name = (await readFile(file, "utf8")).trim();
  if (name === "" || basename(name) !== name || name === "..")
    throw new WeightsError(`${file} must name the folder of an iteration beside it, got ${show(name)}`);
  return name;
}

function refuseSeveralRanks(folder: string, names: readonly string[]): void {
  if (names.includes("mp_rank_01_model_states.pt"))
    throw new WeightsError(
      `${folder} holds a model that was trained in several parts (mp_rank_01_model_states.pt); ` +
        "merge them with SAT before converting",
    );
}

/**
 * Tells from their names what some weights are: the component and layout whose table knows most of them.
 * @throws {WeightsError} when no table knows any, or none of the component asked for
 */
export function recognize(source: WeightSource, component?: Component): Recognized {
  const names = [...source.tensors.keys()];
  // LoRAs have more names than the two of the table.
  const isLora = names.length > 0 && names.every((name) => parseLoraName(name) !== undefined);
  if (isLora && (component ?? "lora") === "lora") return { component: "lora", layout: "diffusers" };
  const candidates = components
    .filter((candidate) => component === undefined || candidate === component)
    .flatMap((candidate) =>
      layouts.map((layout) => ({
        component: candidate,
        layout,
        count: countMatches(names, candidate, layout),
      })),
    );
  const best = candidates.reduce((a, b) => (b.count > a.count ? b : a));
  if (best.count > 0) return best;
  const first = names.slice(0, 3).map(show).join(", ");
  throw new WeightsError(
    `${source.path} holds no ${component ?? "transformer, VAE or LoRA"} of CogVideoX under any known name; ` +
      `its ${source.tensors.size} tensors begin with ${first || "none"}`,
  );
}
