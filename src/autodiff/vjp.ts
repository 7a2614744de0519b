/** @file The derivative of every operator, as one table. */
import type { Op } from "../graph/ops.ts";
import { attentionRules } from "./attention.ts";
import { elementwise } from "./elementwise.ts";
import { linearAlgebra } from "./linear-algebra.ts";
import { movement } from "./movement.ts";
import { normalization } from "./normalization.ts";
import { quantized } from "./quantized.ts";
import { stop, type VjpRule } from "./rule.ts";

/** From the gradient of a node's output to those of its inputs; an operator without a rule does not compile. */
export const vjp: { readonly [O in Op]: VjpRule<O> } = {
  Input: stop,
  Param: stop,
  Constant: stop,
  ...elementwise,
  ...movement,
  ...linearAlgebra,
  ...normalization,
  ...attentionRules,
  ...quantized,
};
