/** @file Tests of spatio-temporal guidance. */
import { expect, test } from "vitest";
import { addStg, checkedStg } from "./stg.ts";

const values = (...list: number[]) => Float32Array.from(list);
const model = { layers: 42, guided: true };

test("is off without a scale and takes the reference's block unless told otherwise", () => {
  expect(checkedStg(undefined, model)).toBeNull();
  expect(checkedStg({ scale: 0 }, model)).toBeNull();
  expect(checkedStg({ scale: 1 }, model)).toEqual({ scale: 1, layers: [11], rescale: false });
});

test("refuses blocks that are not there, no blocks, no number, and no guidance", () => {
  expect(() => checkedStg({ scale: 1, layers: [42] }, model)).toThrow(/blocks 0 to 41 of this model, got 42/);
  expect(() => checkedStg({ scale: 1, layers: [1.5] }, model)).toThrow(/got 1.5/);
  expect(() => checkedStg({ scale: 1, layers: [] }, model)).toThrow(/got none/);
  expect(() => checkedStg({ scale: Number.NaN }, model)).toThrow(/must be a number/);
  expect(() => checkedStg({ scale: 1 }, { ...model, guided: false })).toThrow(/guidance scale above 1/);
});

test("moves away from the perturbed prediction", () => {
  const stg = { scale: 2, layers: [0], rescale: false };
  expect(addStg(values(1, 2), values(3, 4), values(2, 6), stg)).toEqual(values(3, -2));
});

test("rescaling brings seven tenths of the conditional spread back", () => {
  const stg = { scale: 1, layers: [0], rescale: true };
  const conditional = values(-1, 0, 1);
  expect(addStg(values(-4, 0, 4), conditional, conditional, stg)).toBeCloseToArray([-1.9, 0, 1.9], {
    atol: 1e-6,
  });
});
