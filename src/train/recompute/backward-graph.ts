/** @file A segment's backward pass as a graph that computes the forward pass again. */
import { gradientsOfAll } from "../../autodiff/grad.ts";
import { simplify } from "../../graph/rewrite.ts";
import type { Segment } from "../../graph/segment.ts";
import { input, type Tensor } from "../../graph/tensor.ts";

/** What one backward pass is asked for. */
export type BackwardCall = {
  /** Outputs whose gradient is known; fed as `seed/<output>`. Empty for a segment that gives the loss itself. */
  readonly seeds: readonly string[];
  /** Inputs whose gradient is asked for. */
  readonly wanted: readonly string[];
  /** Those of them that later segments have sent a gradient to; fed as `sum/<input>` and added to. */
  readonly sums: readonly string[];
  /** Parameters whose gradient is asked for. */
  readonly trained: readonly string[];
};

/** Names of inputs and outputs beside those of the segment. */
export const PREFIX = { seed: "seed/", sum: "sum/", gradient: "gradient/", to: "to/" } as const;

/**
 * Outputs `to/<input>` and `gradient/<parameter>` where a gradient arrives, and without seeds the segment's own
 * outputs as well: the gradients are then those of its `loss`.
 */
export function backwardGraph(segment: Segment, call: BackwardCall): Record<string, Tensor> {
  const { inputs, outputs, params } = segment;
  const isLast = call.seeds.length === 0;
  const from = isLast
    ? [{ y: outputs.loss }]
    : call.seeds.map((name) => ({ y: outputs[name], seed: inputLike(PREFIX.seed + name, outputs[name]) }));
  const wrt = [...call.wanted.map((name) => inputs[name]), ...call.trained.map((key) => params.get(key)!)];
  const found = gradientsOfAll(from, wrt);
  const asked: Record<string, Tensor> = isLast ? { ...outputs } : {};
  for (const [i, name] of call.wanted.entries()) {
    const sum = call.sums.includes(name) ? inputLike(PREFIX.sum + name, inputs[name]) : null;
    const gradient = found[i];
    const total = gradient && sum ? sum.add(gradient) : (gradient ?? sum);
    if (total) asked[PREFIX.to + name] = total;
  }
  for (const [i, key] of call.trained.entries()) {
    const gradient = found[call.wanted.length + i];
    if (gradient) asked[PREFIX.gradient + key] = gradient;
  }
  return simplify(asked);
}

function inputLike(name: string, { shape, dtype }: Tensor): Tensor {
  return input(name, shape, dtype);
}
