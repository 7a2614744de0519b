/** @file Training low-rank corrections of a transformer whose own weights stay in their files. */
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { adapterKeys, adaptSegment, withAdapters } from "../../graph/adapters.ts";
import type { Segment } from "../../graph/segment.ts";
import type { Shape } from "../../graph/shape.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { type LoraLayerData, loraFileName, writeLora } from "../../weights/lora/write.ts";
import { drawUniforms, rngFor } from "../diffusion/random.ts";
import type { LossGraph, TrainingTensors } from "../learner.ts";
import type { Param, Params } from "../new-checkpoint/params-file.ts";
import { type Link, type SegmentedGraph, segmentedGraph } from "../recompute/segmented-graph.ts";
import { PARTS } from "../tasks/text-to-video.ts";
import { openPart } from "./model-folder.ts";
import type { LoraRecipe } from "./schema.ts";
import { valuesOf, withFrozen } from "./trainee.ts";

const isMatrix = (key: string) => /\.lora_[AB]\.weight$/.test(key);

/**
 * The loss graph with corrections on the layers of the recipe; the transformer's own parameters are mapped from
 * `folder`.
 */
export async function withLora(graph: LossGraph, recipe: LoraRecipe, folder: string): Promise<LossGraph> {
  const scale = recipe.alpha / recipe.rank;
  const layers = chosenLayers(graph.params.keys(), recipe);
  const adapter = { layers: new Map(layers.map((layer) => [layer, { rank: recipe.rank, scale }])) };
  const outputs: Record<string, Tensor> = { ...graph.report, loss: graph.loss };
  const adapted = withAdapters(outputs, [adapter]);
  const { loss, ...report } = adapted.outputs;
  const params = new Map([...graph.params, ...adapted.params]);
  const sets = { [PARTS.transformer]: await openPart(folder, "transformer") };
  const corrected = withFrozen({ ...graph, loss, report, params }, isMatrix, sets);
  const chain = graph.chain && adaptChain(graph.chain, recipe, scale, corrected.frozen);
  return { ...corrected, chain };
}

/** The same corrections where a loss is cut: links that share a segment share the corrected one. */
function adaptChain(
  { name, links }: SegmentedGraph,
  recipe: LoraRecipe,
  scale: number,
  frozen: LossGraph["frozen"],
): SegmentedGraph {
  const known = new Map<Segment, Segment>();
  const adapted = ({ segment, prefix }: Link): Segment => {
    const layers = chosenLayers(
      [...segment.params.keys()].map((key) => prefix + key),
      recipe,
    );
    const own = layers.map((layer) => [layer.slice(prefix.length), { rank: recipe.rank, scale }] as const);
    return adaptSegment(segment, [{ layers: new Map(own) }]);
  };
  return segmentedGraph(
    name,
    links.map((link) => {
      const segment = known.get(link.segment) ?? adapted(link);
      known.set(link.segment, segment);
      return { ...link, segment };
    }),
    frozen,
  );
}

/** Layers of parameters with such keys that a recipe corrects. */
function chosenLayers(keys: Iterable<string>, recipe: LoraRecipe): string[] {
  return [...keys]
    .filter((key) => key.endsWith(".weight"))
    .map((key) => key.slice(0, -".weight".length))
    .filter((layer) => recipe.layers.some((name) => layer.endsWith(`.${name}`)));
}

/** Shapes of the matrices that correct a model with such parameters. */
export function loraShapes(declared: ReadonlyMap<string, Shape>, recipe: LoraRecipe): Map<string, Shape> {
  return new Map(
    chosenLayers(declared.keys(), recipe).flatMap((layer) => {
      const { a, b } = adapterKeys(layer);
      const [out, ...inner] = declared.get(`${layer}.weight`)!;
      const shapes: [string, Shape][] = [
        [a, [recipe.rank, ...inner]],
        [b, [out, recipe.rank]],
      ];
      return shapes;
    }),
  );
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
