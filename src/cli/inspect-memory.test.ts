/** @file Estimates of the memory that a stage takes. */
import { expect, test } from "vitest";
import { traceSegment } from "../graph/segment.ts";
import { linear } from "../nn/layers.ts";
import { Scope } from "../nn/scope.ts";
import { stageMemory } from "./inspect-memory.ts";

/** Two linear layers of 4 x 4 on 8 rows: every result takes 8 * 4 * 4 bytes. */
const segment = traceSegment("two layers", { x: [8, 4] }, ({ x }) => {
  const p = new Scope();
  const y = linear(p.at("b"), linear(p.at("a"), x, 4, { bias: false }).reshape([2, 4, 4]), 4, {
    bias: false,
  });
  return { outputs: { y }, params: p.declared };
});
const ROWS = 8 * 4 * 4;

test("counts weights at four bytes a number where they are stored narrower", () => {
  expect(stageMemory([segment], 64, () => false)).toMatchObject({ mapped: 64, widened: 2 * 16 * 4 });
});

test("counts no second copy of weights that are stored as float32", () => {
  expect(stageMemory([segment], 0, (key) => key === "a.weight").widened).toBe(16 * 4);
});

test("counts what is alive at once: the input, and two results around each layer", () => {
  expect(stageMemory([segment], 0, () => false).activations).toBe(3 * ROWS);
});

test("takes the largest segment of a stage, and nothing for a stage without any", () => {
  const small = traceSegment("small", { x: [1] }, ({ x }) => ({
    outputs: { y: x.neg() },
    params: new Map(),
  }));
  expect(stageMemory([small, segment], 0, () => false)).toEqual(stageMemory([segment], 0, () => false));
  expect(stageMemory([], 5, () => false)).toEqual({ mapped: 5, widened: 0, activations: 0 });
});
