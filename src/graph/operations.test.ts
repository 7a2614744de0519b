/** @file Tests of the count of operations against sums by hand, and of a gradient against its loss. */
import { expect, test } from "vitest";
import { gradients } from "../autodiff/grad.ts";
import { attention, conv, convTranspose, linearMap, silu } from "./functions.ts";
import { operationsOf } from "./operations.ts";
import { input, type Tensor } from "./tensor.ts";

const x = (...shape: number[]) => input(`x${shape}`, shape);

const cases: readonly (readonly [name: string, outputs: Tensor, operations: number])[] = [
  ["a product", x(5, 2, 3).matmul(x(3, 4)), 5 * 2 * 4 * 2 * 3],
  ["a product of turned matrices", x(7, 3).matmul(x(4, 7), { transA: true, transB: true }), 3 * 4 * 2 * 7],
  ["a linear map", linearMap(x(2, 6, 8), x(16, 8)), 12 * 16 * 2 * 8],
  ["a convolution", conv(x(1, 4, 9, 9), x(6, 2, 3, 3), undefined, { groups: 2 }), 6 * 7 * 7 * 2 * 18],
  ["a transposed one", convTranspose(x(1, 4, 5, 5), x(4, 6, 2, 2)), 4 * 25 * 2 * 24],
  ["attention", attention([x(2, 5, 8), x(2, 7, 8), x(2, 7, 8)], 2), 2 * 2 * 2 * 5 * 7 * 8],
  ["no product", silu(x(100)).mul(2), 0],
];

test.each(cases)("counts %s", (_, output, operations) => {
  expect(operationsOf([output])).toBe(operations);
});

test("counts what two outputs share once, and of a gradient what it takes", () => {
  const weight = x(16, 8);
  const hidden = linearMap(linearMap(x(10, 8), weight), x(8, 16));
  const loss = hidden.mul(hidden).sum([0, 1]);
  const forward = 2 * 10 * 16 * 8 * 2;
  expect(operationsOf([loss, hidden])).toBe(forward);
  // Of the first map, nobody asks for the gradient of what goes in.
  expect(operationsOf([loss, ...gradients(loss, [weight])])).toBe(forward + 2 * (2 * 10 * 16 * 8));
});
