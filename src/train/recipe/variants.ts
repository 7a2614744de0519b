/** @file Departures from the model for ablations, as rewrites of its loss graph: what attends to what, what modulates. */
// B batch, F latent frames, P video tokens of a frame, T text tokens, S = T + F P, D width
import { attention, concat } from "../../graph/functions.ts";
import { rewrite } from "../../graph/rewrite.ts";
import { attrsOf, constant, emit, type Tensor, toposort } from "../../graph/tensor.ts";
import type { TransformerConfig } from "../../models/transformer/config.ts";
import { gridOf } from "../../models/transformer/grid.ts";
import type { LossGraph } from "../learner.ts";
import type { TextToVideoCall } from "../tasks/text-to-video.ts";
import type { Recipe } from "./schema.ts";

type Variant = Recipe["transformer"]["variant"];

/** What takes the place of a node whose inputs have been rewritten; undefined leaves it. */
type Replace = (
  node: Tensor,
  declare: (key: string, shape: readonly number[]) => Tensor,
) => Tensor | undefined;

/**
 * The loss graph of a variant:
 * - `factorised`: video tokens attend to the text and, in even blocks, to their own frame, in odd ones to their own
 *   place in all frames; text attends to everything.
 * - `sharedNorm`: text and video share shift, scale and gate; the text's half of the maps is not there.
 * - `plainNorm`: shift, scale and gate of a block are learned constants that do not know the timestep; it enters at the
 *   head alone.
 */
export function varied(
  graph: LossGraph,
  variant: Variant,
  config: TransformerConfig,
  call: TextToVideoCall,
): LossGraph {
  switch (variant) {
    case "none":
      return graph;
    case "factorised":
      return rewritten(graph, factorised(config, call));
    case "sharedNorm":
      return rewritten(graph, sharedNorm);
    case "plainNorm":
      return rewritten(graph, plainNorm);
  }
}

function factorised(config: TransformerConfig, call: TextToVideoCall): Replace {
  const grid = gridOf(config, call);
  const [frames, places, text] = [grid.frames, grid.height * grid.width, call.textLength];
  return (node) => {
    const block = /transformer_blocks\.(\d+)\./.exec(node.path)?.[1];
    if (node.op !== "Attention" || block === undefined) return undefined;
    const { heads, scale } = attrsOf(node, "Attention");
    const inTime = Number(block) % 2 === 1;
    const [batch, , width] = node.shape;
    const [groups, length] = inTime ? [places, frames] : [frames, places];
    const grouped = (x: Tensor) => {
      const video = x.slice(1, text).reshape([batch, frames, places, width]);
      return (inTime ? video.transpose([0, 2, 1, 3]) : video).reshape([batch * groups, length, width]);
    };
    const repeated = (x: Tensor) =>
      x
        .slice(1, 0, text)
        .reshape([batch, 1, text, width])
        .expand([batch, groups, text, width])
        .reshape([batch * groups, text, width]);
    const [q, k, v] = node.inputs;
    const own = (x: Tensor) => concat([repeated(x), grouped(x)], 1);
    const attended = attention([grouped(q), own(k), own(v)], heads, { scale });
    const apart = attended.reshape([batch, groups, length, width]);
    const video = (inTime ? apart.transpose([0, 2, 1, 3]) : apart).reshape([batch, groups * length, width]);
    return concat([attention([q.slice(1, 0, text), k, v], heads, { scale }), video], 1);
  };
}

const MODULATION = /transformer_blocks\.\d+\.norm[12]\.linear\.(weight|bias)$/;

const sharedNorm: Replace = (node, declare) => {
  if (node.op !== "Param") return undefined;
  const { key, shape } = attrsOf(node, "Param");
  if (!MODULATION.test(key)) return undefined;
  const half = declare(key, [shape[0] / 2, ...shape.slice(1)]);
  return concat([half, half], 0);
};

const plainNorm: Replace = (node) => {
  if (node.op !== "Param") return undefined;
  const { key, shape } = attrsOf(node, "Param");
  if (!MODULATION.test(key) || key.endsWith(".bias")) return undefined;
  const zero = constant(new Float32Array(1), [1, 1]);
  return zero.expand(shape);
};

/** A loss graph whose nodes have been replaced, and the parameters that are left. */
function rewritten(graph: LossGraph, replace: Replace): LossGraph {
  const made = new Map<string, Tensor>();
  const declare = (key: string, shape: readonly number[]) => {
    const known = made.get(key) ?? emit("Param", [], { key, shape });
    made.set(key, known);
    return known;
  };
  const outputs: Readonly<Record<string, Tensor>> = { ...graph.report, loss: graph.loss };
  const { loss, ...report } = rewrite(outputs, (node) => replace(node, declare) ?? node);
  const params = new Map<string, Tensor>();
  for (const node of toposort([loss, ...Object.values(report)]))
    if (node.op === "Param") params.set(attrsOf(node, "Param").key, node);
  return { ...graph, loss, report, params };
}
