/** @file Quantised linear maps under differentiation. */
import { expect, test } from "vitest";
import { ShapeError } from "../errors.ts";
import { emit, input } from "../graph/tensor.ts";
import { gradients } from "./grad.ts";

test("refuses gradients through quantised linear maps instead of giving zeros", () => {
  const x = input("x", [1, 16]);
  const weight = input("weight", [1, 1, 8], "u8");
  const y = emit("BlockLinear", [x, weight, input("scale", [1, 1])], { bits: 4, block: 16 });
  expect(() => gradients(y.sum([0, 1]), [x])).toThrow(ShapeError);
});
