/** @file Quantised linear maps have no derivative: rounding is flat wherever it is not broken. */
import { ShapeError } from "../errors.ts";
import type { Op } from "../graph/ops.ts";
import type { Gradients, Rules } from "./rule.ts";

export const quantized = {
  RowScale: refuse,
  QuantizeRows: refuse,
  ByteLinear: refuse,
  BlockLinear: refuse,
} satisfies Rules;

function refuse({ y }: { readonly y: { readonly op: Op; readonly path: string } }): Gradients {
  throw new ShapeError(
    `no gradient passes through the quantised linear map ${y.op} in ${y.path}; train on the weights in float`,
  );
}
