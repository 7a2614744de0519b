/** @file The layers every model shares. Each declares its parameters under the names the checkpoints use. */

import { linearMap, layerNorm as normalize, rmsNorm as rootMeanSquare } from "../graph/functions.ts";
import { emit, type Tensor } from "../graph/tensor.ts";
import { layer } from "./scope.ts";

/** x Wᵀ + b for x `[..., in]`; declares `weight [out, in]` and, unless told otherwise, `bias [out]`. */
export const linear = layer((p, x: Tensor, out: number, { bias = true } = {}) =>
  linearMap(x, p.param("weight", [out, x.dim(-1)]), bias ? p.param("bias", [out]) : undefined),
);

/** Layer normalisation over the last axis; declares `weight` and `bias` of its length. */
export const layerNorm = layer((p, x: Tensor, eps: number) => {
  const width = [x.dim(-1)];
  return normalize(x, p.param("weight", width), p.param("bias", width), eps);
});

/** Root-mean-square normalisation over the last axis; declares `weight`. */
export const rmsNorm = layer((p, x: Tensor, eps: number) =>
  rootMeanSquare(x, p.param("weight", [x.dim(-1)]), eps),
);

/** Rows of the table `weight [count, width]` at integer `ids`. */
export const embedding = layer((p, ids: Tensor, count: number, width: number) =>
  emit("Gather", [p.param("weight", [count, width]), ids], { axis: 0 }),
);
