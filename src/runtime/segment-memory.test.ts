/** @file What segments take in memory, on graphs that are small enough to count by hand. */
import { expect, test } from "vitest";
import { attention } from "../graph/functions.ts";
import { computeInHalves } from "../graph/halves.ts";
import { type Segment, traceSegment } from "../graph/segment.ts";
import { linear } from "../nn/layers.ts";
import { Scope } from "../nn/scope.ts";
import { arenaOf, segmentMemory } from "./segment-memory.ts";

/** Two linear layers of 4 x 4 on 8 rows: every result takes 8 * 4 * 4 bytes. */
const segment = traceSegment("two layers", { x: [8, 4] }, ({ x }) => {
  const p = new Scope();
  const y = linear(p.at("b"), linear(p.at("a"), x, 4, { bias: false }).reshape([2, 4, 4]), 4, {
    bias: false,
  });
  return { outputs: { y }, params: p.declared };
});
const ROWS = 8 * 4 * 4;
const MATRIX = 4 * 4 * 4;

const without = (build: (segment: Segment) => Segment) => segmentMemory(build(segment), () => false);

test("counts inputs and outputs apart from what is alive between them", () => {
  const { inputs, outputs, live } = segmentMemory(segment, () => false);
  expect({ inputs, outputs, live }).toEqual({ inputs: ROWS, outputs: ROWS, live: 2 * ROWS });
});

test("counts weights that are stored narrower at four bytes a number, while they are used", () => {
  expect(segmentMemory(segment, () => true).live).toBe(2 * ROWS + MATRIX);
  expect(segmentMemory(segment, (key) => key === "a.weight").live).toBe(2 * ROWS);
});

test("counts operands and results of products in float16 in both types", () => {
  const halves = computeInHalves(segment, (name) => name === "a");
  // The rows in float16; beside them rows, matrix and result in float32, and the result in float16.
  const product = ROWS / 2 + 2 * ROWS + MATRIX + ROWS / 2;
  expect(segmentMemory(halves, () => true).live).toBe(product);
});

test("tells apart what is there for weights alone", () => {
  const scaled = traceSegment("scaled", { x: [8, 4] }, ({ x }) => {
    const p = new Scope();
    const weight = p.param("weight", [4, 4]);
    return { outputs: { y: x.matmul(weight.mul(2)) }, params: p.declared };
  });
  expect(segmentMemory(scaled, () => true)).toMatchObject({
    live: 2 * MATRIX + ROWS,
    activations: 2 * ROWS,
  });
});

test("counts the copies that attention works with", () => {
  const attend = (bias: boolean) =>
    without(() =>
      traceSegment("attention", { x: [1, 8, 4], bias: [1, 2, 8, 8] }, (inputs) => ({
        outputs: {
          y: attention([inputs.x, inputs.x, inputs.x], 2, bias ? { bias: inputs.bias } : {}).neg(),
        },
        params: new Map(),
      })),
    ).live;
  expect(attend(false)).toBe(4 * ROWS);
  expect(attend(true)).toBe(4 * ROWS + ROWS + 2 * 8 * 8 * 4);
});

test("takes at least what is alive in an arena, and at most what would lie side by side", () => {
  const { live } = segmentMemory(segment, () => true);
  const arena = arenaOf(segment, () => true);
  expect(arena).toBeGreaterThanOrEqual(live);
  expect(arena).toBeLessThanOrEqual(3 * ROWS + 2 * MATRIX);
});
