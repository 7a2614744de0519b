/** @file Matched colours: a drift that is linear is undone, and a frame without contrast does no harm. */
import { expect, test } from "vitest";
import { createRng, drawNormals } from "../../diffusion/noise.ts";
import { matchColours, withColours } from "./colour-match.ts";

const goal = drawNormals(createRng(1), 300).map((x) => 0.5 + 0.08 * x);

test("a change of contrast and brightness in each channel is undone", () => {
  const drifted = goal.map((x, i) => [0.9, 1.1, 0.7][i % 3] * x + [0.05, -0.04, 0.2][i % 3]);
  expect(withColours(drifted, matchColours(drifted, goal))).toBeCloseToArray(goal, { atol: 1e-6 });
});

test("frames that match stay as they are", () => {
  const match = matchColours(goal, goal);
  for (const { gain, shift } of match) {
    expect(gain).toBeCloseTo(1, 12);
    expect(shift).toBeCloseTo(0, 12);
  }
});

test("a frame of one colour is moved, not multiplied, and a faint one not by more than two", () => {
  const plain = new Float32Array(300).fill(0.25);
  expect(matchColours(plain, goal).map(({ gain }) => gain)).toEqual([1, 1, 1]);
  const faint = goal.map((x) => 0.5 + 0.001 * (x - 0.5));
  expect(matchColours(faint, goal).map(({ gain }) => gain)).toEqual([2, 2, 2]);
});

test("results stay in the range of colours", () => {
  const bright = withColours(Float32Array.of(0.9, 0.1, 0.5), [
    { gain: 2, shift: 0 },
    { gain: 1, shift: -0.5 },
    { gain: 1, shift: 0.25 },
  ]);
  expect(bright).toEqual(Float32Array.of(1, 0, 0.75));
});
