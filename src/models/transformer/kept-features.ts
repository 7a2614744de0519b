/** @file Arithmetic on features that are kept from step to step, as segments: it stays near the features. */
import { abs, sqrt } from "../../graph/functions.ts";
import { type Segment, traceSegment } from "../../graph/segment.ts";
import type { Shape } from "../../graph/shape.ts";
import type { Tensor } from "../../graph/tensor.ts";

const none = new Map<string, Tensor>();

/** `result = after - before`. */
export function differenceSegment(shape: Shape): Segment<"after" | "before", "result"> {
  return traceSegment("difference", { after: shape, before: shape }, ({ after, before }) => ({
    outputs: { result: after.sub(before) },
    params: none,
  }));
}

/** `result = onto + weights[0] kept0 + weights[1] kept1 + …`; without `onto` the sum alone. */
export function weightedSumSegment(
  shape: Shape,
  count: number,
  { onto }: { readonly onto: boolean },
): Segment<string, "result"> {
  const kept = Array.from({ length: count }, (_, i) => `kept${i}`);
  const specs: Record<string, Shape> = {
    weights: [count],
    ...Object.fromEntries(kept.map((name) => [name, shape])),
    ...(onto ? { onto: shape } : {}),
  };
  return traceSegment("reuse", specs, (x) => {
    const terms = kept.map((name, i) => x[name].mul(x.weights.slice(0, i, i + 1)));
    const all = onto ? [x.onto, ...terms] : terms;
    return { outputs: { result: all.reduce((sum, term) => sum.add(term)) }, params: none };
  });
}

/** How far features have moved, `[1]`: the mean of |now - before| over the mean of |before|. */
export function changeSegment(shape: Shape): Segment<"now" | "before", "result"> {
  const axes = shape.map((_, axis) => axis);
  return traceSegment("change", { now: shape, before: shape }, ({ now, before }) => {
    const mean = (x: Tensor) => abs(x).mean(axes).reshape([1]);
    return { outputs: { result: mean(now.sub(before)).div(mean(before)) }, params: none };
  });
}

/** How features `[B, N, D]` have grown, `[1]`: the mean over tokens of ‖now‖ / (‖before‖ + 1e-8). */
export function growthSegment(shape: Shape): Segment<"now" | "before", "result"> {
  return traceSegment("growth", { now: shape, before: shape }, ({ now, before }) => {
    const norm = (x: Tensor) => sqrt(x.mul(x).sum([2])); // [B, N]
    const ratios = norm(now).div(norm(before).add(1e-8));
    return { outputs: { result: ratios.mean([0, 1]).reshape([1]) }, params: none };
  });
}

/** The second half of a batch: the samples with the prompt. */
export function secondHalfSegment(shape: Shape): Segment<"x", "result"> {
  return traceSegment("second half", { x: shape }, ({ x }) => ({
    outputs: { result: x.slice(0, shape[0] / 2) },
    params: none,
  }));
}
