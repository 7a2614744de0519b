/** @file A loss as a graph, and one batch of what it takes. */
import type { ParamStorage } from "../graph/onnx.ts";
import type { Tensor } from "../graph/tensor.ts";
import type { Value } from "../runtime/engine.ts";
import type { SegmentedGraph } from "./recompute/segmented-graph.ts";

/** A loss as a graph. The same object is the same compiled graph: build one for every shape of batch and keep it. */
export type LossGraph = {
  /** Names it in messages. */
  readonly name: string;
  /** The scalar whose gradient is followed. */
  readonly loss: Tensor;
  /** More to be known about each batch: small tensors by name. */
  readonly report: Readonly<Record<string, Tensor>>;
  /** Parameters that the graph declares, by checkpoint key. */
  readonly params: ReadonlyMap<string, Tensor>;
  /** The same loss cut into links: its gradients are then found link by link, in less memory. */
  readonly chain?: SegmentedGraph;
  /** Whether what a run frees stays with the graph for the next one (true): not where many graphs take turns. */
  readonly arena?: boolean;
  /** Parameters that lie in files and stay as they are. */
  readonly frozen?: { readonly folder: string; readonly storage: (key: string) => ParamStorage | undefined };
};

/** One batch that goes through the engine at once. */
export type MicroBatch = { readonly graph: LossGraph; readonly feeds: Readonly<Record<string, Value>> };
