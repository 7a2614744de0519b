/** @file The layers every model shares. Each declares its parameters under the names the checkpoints use. */

import {
  after,
  concat,
  linearMap,
  layerNorm as normalize,
  rmsNorm as rootMeanSquare,
} from "../graph/functions.ts";
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

/** Rows that go through a wide layer at a time: so few that what they widen to stays in the processor's cache. */
const ROWS_AT_A_TIME = 1100;

/**
 * `f` applied to the rows of `x [..., C]` piece by piece, one after the other, and the results put together again;
 * for maps that treat every row alike and pass through something much wider than their ends.
 */
export function inPieces(x: Tensor, f: (rows: Tensor) => Tensor): Tensor {
  const rows = x.reshape([-1, x.dim(-1)]);
  const total = rows.dim(0);
  const step = Math.ceil(total / Math.ceil(total / ROWS_AT_A_TIME));
  const pieces: Tensor[] = [];
  for (let start = 0; start < total; start += step) {
    const piece = rows.slice(0, start, Math.min(start + step, total));
    const last = pieces.at(-1);
    pieces.push(f(last === undefined ? piece : after(piece, last)));
  }
  const result = concat(pieces, 0);
  return result.reshape([...x.shape.slice(0, -1), result.dim(-1)]);
}

/** Rows of the table `weight [count, width]` at integer `ids`. */
export const embedding = layer((p, ids: Tensor, count: number, width: number) =>
  emit("Gather", [p.param("weight", [count, width]), ids], { axis: 0 }),
);
