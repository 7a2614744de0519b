/** @file Dropped captions become zeros or the empty prompt, as a whole and as often as asked. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { f32, hashed, numbers } from "../../../test/helpers/host-tensor.ts";
import { runGraph } from "../../../test/helpers/run-graph.ts";
import { ShapeError } from "../../errors.ts";
import { input } from "../../graph/tensor.ts";
import { Engine } from "../../runtime/engine.ts";
import { dropText, keptText } from "./text-dropout.ts";

let engine: Engine;
beforeAll(() => {
  engine = new Engine({ threads: 1 });
});
afterAll(() => engine.close());

const text = hashed([3, 4, 5], 1);
const kept = f32([3], [1, 0, 1]);
const caption = (values: readonly number[], sample: number) => values.slice(sample * 20, sample * 20 + 20);

test("a dropped caption is zeros from the first to the last number, and others stay", async () => {
  const result = numbers(await runGraph(engine, (x, k) => dropText(x, k), [text, kept]));
  expect(caption(result, 0)).toEqual(caption(numbers(text), 0));
  expect(caption(result, 1).every((value) => value === 0)).toBe(true);
  expect(caption(result, 2)).toEqual(caption(numbers(text), 2));
});

test("or the empty prompt, where that is what guidance will use", async () => {
  const empty = hashed([1, 4, 5], 2);
  const result = numbers(await runGraph(engine, dropText, [text, kept, empty]));
  expect(caption(result, 1)).toEqual(numbers(empty));
  expect(caption(result, 2)).toEqual(caption(numbers(text), 2));
});

test("an empty prompt of another length is refused", () => {
  expect(() => dropText(input("x", [3, 4, 5]), input("k", [3]), input("e", [1, 3, 5]))).toThrow(ShapeError);
});

test("captions are dropped one by one, as often as asked, and the same ones again", () => {
  const draw = { seed: 3, probability: 0.1 };
  const steps = Array.from({ length: 500 }, (_, step) => keptText({ ...draw, step }, 0, 8));
  const dropped = steps.map((kept) => kept.filter((k) => k === 0).length);
  const share = dropped.reduce((a, b) => a + b, 0) / 4000;
  expect(share).toBeGreaterThan(0.08);
  expect(share).toBeLessThan(0.12);
  expect(Math.max(...dropped)).toBeLessThan(8);
  expect(keptText({ ...draw, step: 5 }, 0, 8)).toEqual(steps[5]);
  expect(keptText({ ...draw, step: 5 }, 4, 4)).toEqual(steps[5].slice(4));
  expect([...keptText({ ...draw, step: 5, probability: 0 }, 0, 8)]).toEqual(Array(8).fill(1));
});
