/** @file Tests of the comparison between declared parameters and stored tensors. */
import { expect, test } from "vitest";
import { WeightsError } from "../errors.ts";
import { checkKeys, type KeyOptions, t5Aliases } from "./check.ts";
import type { WeightSet } from "./checkpoint.ts";
import type { StoredDType } from "./dtype.ts";

type Shapes = Record<string, number[]>;

function setOf(shapes: Shapes, dtype: StoredDType = "BF16"): WeightSet {
  const entries = Object.entries(shapes).map(
    ([name, shape]) => [name, { name, dtype, shape, file: "/m/x", offset: 8, byteLength: 0 }] as const,
  );
  return { folder: "/m", tensors: new Map(entries), totalBytes: 0, realPaths: new Map() };
}

const check = (declared: Shapes, found: WeightSet, options?: KeyOptions) =>
  checkKeys(new Map(Object.entries(declared)), found, options);

test("gives the stored tensor of every parameter", () => {
  const found = setOf({ b: [2], a: [1, 2] });
  const matched = check({ a: [1, 2], b: [2] }, found);
  expect([...matched.keys()]).toEqual(["a", "b"]);
  expect(matched.get("b")).toBe(found.tensors.get("b"));
});

test("counts each kind of fault and names the first three", () => {
  const found = setOf({ u1: [1], u2: [1], u3: [1], u4: [1], s: [2, 3], t: [6] });
  const declared = { m1: [1], m2: [1], s: [3, 2], t: [2, 3] };
  expect(() => check(declared, found)).toThrow(
    new WeightsError(
      'the weights in /m do not fit the model: 2 missing ("m1", "m2"); 4 unexpected ("u1", "u2", "u3", ...); ' +
        '2 misshapen ("s" is [2,3], the model needs [3,2], "t" is [6], the model needs [2,3]). ' +
        "Use the weights and the config.json of the same checkpoint",
    ),
  );
});

test("accepts F32, F16 and BF16, and names a parameter of another dtype", () => {
  for (const dtype of ["F32", "F16", "BF16"] as const)
    expect(check({ a: [1] }, setOf({ a: [1] }, dtype)).size).toBe(1);
  expect(() => check({ a: [1] }, setOf({ a: [1] }, "I64"))).toThrow(
    /1 not of dtype F32, F16 or BF16 \("a" is I64\)/,
  );
});

test("lets ignored names be, whatever their dtype, also with a pattern that keeps state", () => {
  const found = setOf({ a: [1], position_ids: [1], "x.position_ids": [1] });
  expect(check({ a: [1] }, found, { ignore: [/position_ids$/g] }).size).toBe(1);
  expect(() => check({ a: [1] }, found, { ignore: [/^position_ids$/] })).toThrow(
    /1 unexpected \("x.position_ids"\)/,
  );
});

test("does not excuse a declared parameter that an ignore pattern matches", () => {
  expect(() => check({ a: [1] }, setOf({}), { ignore: [/a/] })).toThrow(/1 missing \("a"\)/);
});

test("finds T5's embedding under either name, and prefers the shared one", () => {
  const both = ["shared.weight", "encoder.embed_tokens.weight"];
  for (const declared of both) {
    for (const stored of both) {
      const matched = check({ [declared]: [4, 2] }, setOf({ [stored]: [4, 2] }), { aliases: t5Aliases });
      expect(matched.get(declared)!.name).toBe(stored);
    }
    const shapes = { "encoder.embed_tokens.weight": [4, 2], "shared.weight": [4, 2] };
    const matched = check({ [declared]: [4, 2] }, setOf(shapes), { aliases: t5Aliases });
    expect(matched.get(declared)!.name).toBe("shared.weight");
  }
});

test("still refuses an alias that nothing declares, and misses a parameter stored under neither name", () => {
  expect(() => check({}, setOf({ "shared.weight": [1] }), { aliases: t5Aliases })).toThrow(/1 unexpected/);
  expect(() => check({ "shared.weight": [1] }, setOf({}), { aliases: t5Aliases })).toThrow(/1 missing/);
});
