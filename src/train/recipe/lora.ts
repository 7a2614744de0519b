/** @file Training low-rank corrections of a transformer whose own weights stay in their files. */
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { ConfigError } from "../../errors.ts";
import { adapterKeys, withAdapters } from "../../graph/adapters.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { type LoraLayerData, loraFileName, writeLora } from "../../weights/lora/write.ts";
import { drawUniforms, rngFor } from "../diffusion/random.ts";
import type { LossGraph, TrainingTensors } from "../learner.ts";
import type { Param, Params } from "../new-checkpoint/params-file.ts";
import { PARTS } from "../tasks/text-to-video.ts";
import { openPart } from "./model-folder.ts";
import type { LoraRecipe } from "./schema.ts";
import { valuesOf, withFrozen } from "./trainee.ts";

const isMatrix = (key: string) => /\.lora_[AB]\.weight$/.test(key);

/**
 * The loss graph with corrections on the layers of the recipe; the transformer's own parameters are mapped from
 * `folder`.
 * @throws ConfigError when the model has none of the layers
 */
export async function withLora(graph: LossGraph, recipe: LoraRecipe, folder: string): Promise<LossGraph> {
  const scale = recipe.alpha / recipe.rank;
  const isChosen = (layer: string) => recipe.layers.some((name) => layer.endsWith(`.${name}`));
  const layers = [...graph.params.keys()]
    .filter((key) => key.endsWith(".weight"))
    .map((key) => key.slice(0, -".weight".length))
    .filter(isChosen);
  const adapter = { layers: new Map(layers.map((layer) => [layer, { rank: recipe.rank, scale }])) };
  const outputs: Record<string, Tensor> = { ...graph.report, loss: graph.loss };
  const adapted = withAdapters(outputs, [adapter]);
  if (adapted.params.size === 0)
    throw new ConfigError(
      `transformer.lora.layers names ${recipe.layers.join(", ")}, and the model has none of these layers`,
    );
  const { loss, ...report } = adapted.outputs;
  const params = new Map([...graph.params, ...adapted.params]);
  const sets = { [PARTS.transformer]: await openPart(folder, "transformer") };
  return withFrozen({ ...graph, loss, report, params }, isMatrix, sets);
}

/** A as PEFT draws it (uniform in ± 1 / √in), B zero: the corrections begin as nothing. */
export function initialLora({ params }: LossGraph, seed: number): Params {
  const entries = [...params].filter(([key]) => isMatrix(key));
  return new Map(
    entries.map(([key, { shape }]) => {
      const inner = shape.slice(1).reduce((product, size) => product * size, 1);
      const bound = 1 / Math.sqrt(inner);
      const draws = drawUniforms(rngFor(seed, key), shape[0] * inner);
      const data = Float32Array.from(draws, (u) =>
        key.endsWith(".lora_A.weight") ? bound * (2 * u - 1) : 0,
      );
      return [key, { shape, data }] as const;
    }),
  );
}

/** Writes the averaged matrices of a training state into the folder `output`, as `load_lora_weights` reads them. */
export async function giveOutLora(tensors: TrainingTensors, output: string, alpha: number): Promise<string> {
  const file = output.endsWith(".safetensors") ? output : join(output, loraFileName);
  const values = valuesOf(tensors, "average");
  const layers = new Map<string, LoraLayerData>();
  for (const key of values.keys()) {
    const layer = key.replace(/\.lora_[AB]\.weight$/, "");
    const { a, b } = adapterKeys(layer);
    const stored = (param: Param) => ({ dtype: "F32" as const, ...param });
    layers.set(layer.slice(PARTS.transformer.length + 1), {
      a: stored(values.get(a)!),
      b: stored(values.get(b)!),
      alpha,
    });
  }
  await mkdir(dirname(file), { recursive: true });
  await writeLora(file, layers);
  return file;
}
