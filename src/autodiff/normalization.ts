/** @file Derivatives of the normalisations. */
import * as ops from "../graph/functions.ts";
import type { Tensor } from "../graph/tensor.ts";
import { type Gradients, type Rules, unbroadcast } from "./rule.ts";

export const normalization = {
  LayerNorm: ({ g, x: [x, scale, bias], needs, attrs: { eps } }) => {
    const [gx, gScale] = throughNorm({ g, x, scale, needs }, eps, true);
    return [gx, gScale, needs[2] ? unbroadcast(g, bias.shape) : null];
  },
  RmsNorm: ({ g, x: [x, scale], needs, attrs: { eps } }) => throughNorm({ g, x, scale, needs }, eps, false),
} satisfies Rules;

type Parts = {
  readonly g: Tensor;
  readonly x: Tensor;
  readonly scale: Tensor;
  readonly needs: readonly boolean[];
};

/**
 * Gradients of x and scale for y = n · scale, n = (x - mean) r, r = 1 / √(variance + eps) over the last axis:
 * r (h - mean(h) - n mean(h n)) with h = g · scale, and g · n. Without `centered`, as in RMS norms, the means of x and
 * of h are left out.
 */
function throughNorm({ g, x, scale, needs }: Parts, eps: number, centered: boolean): Gradients {
  const mean = (t: Tensor) => t.mean([-1], true);
  const offset = centered ? x.sub(mean(x)) : x;
  const r = ops.reciprocal(ops.sqrt(mean(offset.mul(offset)).add(eps)));
  const n = offset.mul(r);
  const gScale = needs[1] ? unbroadcast(g.mul(n), scale.shape) : null;
  if (!needs[0]) return [null, gScale];
  const h = g.mul(scale);
  const level = centered ? h.sub(mean(h)) : h;
  return [level.sub(n.mul(mean(h.mul(n)))).mul(r), gScale];
}
