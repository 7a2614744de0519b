/** @file The integer hash against the values printed with the reference outputs. */
import { expect, test } from "vitest";
import { hashInput, hashUniform, hashWeights } from "./hash-fill.ts";

test("gives the published numbers for keys 0 and 1000", () => {
  expect(hashUniform(0, 4)).toBeCloseToArray([0.235455147, 0.942968797, 0.122069344, 0.671967541], {
    atol: 1e-9,
  });
  expect(hashUniform(1000, 2)).toBeCloseToArray([0.590566682, 0.706840939], { atol: 1e-9 });
});

test("centres inputs on zero and scales them", () => {
  expect(hashInput([1, 2, 2], 0, 2)).toBeCloseToArray(
    [-0.529089706, 0.885937594, -0.755861312, 0.343935082],
    {
      atol: 1e-7,
    },
  );
});

test("numbers weights in ASCII order and treats norms, biases and matrices differently", () => {
  const weights = hashWeights({ b: [1], "a.weight": [1], B: [1, 1] });
  const first = (key: number) => hashUniform(key, 1)[0] - 0.5;
  expect([...weights.keys()]).toEqual(["B", "a.weight", "b"]);
  expect(weights.get("B")?.[0]).toBeCloseTo(first(0) * 0.4, 6);
  expect(weights.get("a.weight")?.[0]).toBeCloseTo(1 + first(1) * 0.4, 6);
  expect(weights.get("b")?.[0]).toBeCloseTo(first(2) * 0.2, 6);
});
