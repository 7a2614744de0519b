/** @file Weights of models whose channel pairs lie in halves: moved, they do the same with pairs side by side. */
import { expect, test } from "vitest";
import { hashInput } from "../../../../test/helpers/hash-fill.ts";
import { ShapeError } from "../../../errors.ts";
import { countingCoordinates, type RotaryRows, rotaryRows } from "./rope.ts";
import { moveRotaryRows } from "./rotary-layout.ts";

const headDim = 64;
const grid = { frames: 3, height: 4, width: 5 };
const rows = rotaryRows(grid, countingCoordinates(grid), 0, headDim);
/** The channel of each half of an axis block, as [start, width]. */
const blocks = [
  [0, 16],
  [16, 24],
  [40, 24],
] as const;

/** Turns pairs that lie side by side, as the model does. */
function turnInterleaved(x: Float32Array, { cos, sin }: RotaryRows, token: number): Float32Array {
  return x.map((_, i) => {
    const [pair, a, b] = [token * 32 + (i >> 1), x[i & ~1], x[i | 1]];
    return i % 2 === 0 ? a * cos[pair] - b * sin[pair] : b * cos[pair] + a * sin[pair];
  });
}

/** Turns the two halves of every block against one another, [a, b] to [-b, a] as models after LLaMA do. */
function turnHalves(x: Float32Array, { cos, sin }: RotaryRows, token: number): Float32Array {
  const out = x.slice();
  for (const [start, width] of blocks)
    for (let j = 0; j < width / 2; j++) {
      const [first, second] = [start + j, start + width / 2 + j];
      const pair = token * 32 + start / 2 + j;
      out[first] = x[first] * cos[pair] - x[second] * sin[pair];
      out[second] = x[second] * cos[pair] + x[first] * sin[pair];
    }
  return out;
}

const one = { rows: headDim, headDim };
const head = hashInput([headDim], 5);

test("half index j becomes channels 2j and 2j + 1 of its axis", () => {
  const channels = Float32Array.from({ length: headDim }, (_, i) => i);
  const moved = [...moveRotaryRows(channels, one, "halves", "interleaved")];
  expect(moved.slice(0, 6)).toEqual([0, 8, 1, 9, 2, 10]);
  expect(moved.slice(16, 20)).toEqual([16, 28, 17, 29]);
  expect(moved.slice(62)).toEqual([51, 63]);
});

test("there and back gives the bytes that were moved, and moves them in between", () => {
  const weights = hashInput([2 * headDim, 3], 7);
  const both = { rows: 2 * headDim, headDim };
  const moved = moveRotaryRows(weights, both, "halves", "interleaved");
  expect(moved).not.toEqual(weights);
  expect(moveRotaryRows(moved, both, "interleaved", "halves")).toEqual(weights);
  expect(moveRotaryRows(weights, both, "halves", "halves")).toEqual(weights);
});

test.each([1, 33, 59])("turning and moving may change places at token %i", (token) => {
  const turnedFirst = moveRotaryRows(turnHalves(head, rows, token), one, "halves", "interleaved");
  const movedFirst = turnInterleaved(moveRotaryRows(head, one, "halves", "interleaved"), rows, token);
  expect(movedFirst).toEqual(turnedFirst);
  expect(turnInterleaved(head, rows, token)).not.toEqual(turnHalves(head, rows, token));
});

test("a projection whose rows are moved gives the same products of queries and keys", () => {
  const [width, heads] = [6, 2];
  const size = { rows: heads * headDim, headDim };
  const [q, k] = [hashInput([size.rows, width], 1), hashInput([size.rows, width], 2)];
  const [x, y] = [hashInput([width], 3), hashInput([width], 4)];
  const project = (matrix: Float32Array, input: Float32Array) =>
    Float32Array.from({ length: size.rows }, (_, row) =>
      input.reduce((sum, value, i) => sum + value * matrix[row * width + i], 0),
    );
  const product = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, i) => sum + value * b[i], 0);
  const headOf = (values: Float32Array, h: number) => values.slice(h * headDim, (h + 1) * headDim);
  const moved = (matrix: Float32Array) => moveRotaryRows(matrix, size, "halves", "interleaved");
  for (let h = 0; h < heads; h++) {
    const theirs = product(
      turnHalves(headOf(project(q, x), h), rows, 7),
      turnHalves(headOf(project(k, y), h), rows, 52),
    );
    const ours = product(
      turnInterleaved(headOf(project(moved(q), x), h), rows, 7),
      turnInterleaved(headOf(project(moved(k), y), h), rows, 52),
    );
    expect(ours).toBeCloseTo(theirs, 4);
  }
});

test("rows that are not those of whole heads are refused", () => {
  expect(() => moveRotaryRows(head.slice(1), { rows: 63, headDim }, "halves", "interleaved")).toThrow(
    new ShapeError("63 values in 63 rows are not the rows of heads of 64 channels"),
  );
  expect(() => moveRotaryRows(head, { rows: 64, headDim: 8 }, "halves", "interleaved")).toThrow(
    /a multiple of 16 channels to be cut into t, y and x, got 8/,
  );
});
