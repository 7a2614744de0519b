/** @file Rotary positions against values of the reference and against what rotations are for. */
import { describe, expect, test } from "vitest";
import type { Grid } from "../grid.ts";
import {
  centredCrop,
  countingCoordinates,
  linspaceCoordinates,
  type RotaryRows,
  rotaryRows,
} from "./rope.ts";

const trained = { height: 30, width: 45 };

/** Channel pairs of the reference's columns 0, 2, 14 (time), 16, 18, 38 (y) and 40, 42, 62 (x). */
const pairs = [0, 1, 7, 8, 9, 19, 20, 21, 31];

const at = (rows: Float32Array, token: number, channels: readonly number[]) =>
  channels.map((pair) => rows[token * 32 + pair]);

describe("rows of CogVideoX 1.0 at (3, 7, 11)", () => {
  test.each([
    [
      30,
      45,
      [
        -0.9899925, 0.58275366, 0.99999958, 0.75390226, -0.99422532, 0.99999887, 0.004425698, 0.38329276,
        0.9999972,
      ],
      [0.14112, 0.65698659, -0.99999022],
    ],
    [
      48,
      85,
      [
        -0.9899925, 0.58275366, 0.99999958, 0.79996598, -0.86587, 0.99999928, 0.89620537, -0.90536857,
        0.99999923,
      ],
      [0.14112, -0.60004538, -0.44363946],
    ],
    [
      16,
      16,
      [
        -0.9899925, 0.58275366, 0.99999958, 0.84798235, 0.98179591, 0.99999601, -0.99987197, 0.85253173,
        0.99998146,
      ],
      [0.14112, 0.53002447, 0.015999993],
    ],
    [
      20,
      30,
      [
        -0.9899925, 0.58275366, 0.99999958, -0.47553694, 0.16058095, 0.99999744, -0.70239705, 0.19411954,
        0.99999368,
      ],
      [0.14112, -0.87969577, -0.71178532],
    ],
    [
      45,
      30,
      [
        -0.9899925, 0.58275366, 0.99999958, -0.045706067, -0.56073952, 0.99999952, 0.94537532, -0.86709064,
        0.99999148,
      ],
      [0.14112, -0.99895495, 0.32598388],
    ],
    [
      48,
      80,
      [
        -0.9899925, 0.58275366, 0.99999958, 0.93872267, -0.92546707, 0.99999917, 0.99542564, -0.96387494,
        0.99999911,
      ],
      [0.14112, -0.34467342, -0.095539361],
    ],
  ])("are the reference's for a grid of %sx%s", (height, width, cos, sin) => {
    const grid = { frames: 13, height, width };
    const rows = rotaryRows(grid, linspaceCoordinates(grid, centredCrop(grid, trained)), 0, 64);
    const token = (3 * height + 7) * width + 11;
    expect(at(rows.cos, token, pairs)).toBeCloseToArray(cos, { atol: 2e-6 });
    expect(at(rows.sin, token, [0, 8, 20])).toBeCloseToArray(sin, { atol: 2e-6 });
  });
});

test("rows of CogVideoX 1.5 are the reference's at the last token", () => {
  const grid = { frames: 11, height: 48, width: 85 };
  const rows = rotaryRows(grid, countingCoordinates(grid), 226, 64);
  const token = 226 + (10 * 48 + 47) * 85 + 84;
  const cos = [
    -0.83907151, -0.99978608, 0.99999499, -0.99233544, -0.98460782, 0.99994874, -0.68002349, 0.27689633,
    0.99983627,
  ];
  expect(rows.cos.length).toBe((token + 1) * 32);
  expect(at(rows.cos, token, pairs)).toBeCloseToArray(cos, { atol: 2e-6 });
  expect(at(rows.sin, token, [0, 8, 20])).toBeCloseToArray([-0.54402113, 0.12357312, 0.7331903], {
    atol: 2e-6,
  });
});

describe("the part of the training grid that a grid covers", () => {
  test.each([
    [[30, 45], { top: 0, left: 0, bottom: 30, right: 45 }],
    [[48, 85], { top: 2, left: 0, bottom: 27, right: 45 }],
    [[16, 16], { top: 0, left: 8, bottom: 30, right: 38 }],
    [[20, 30], { top: 0, left: 0, bottom: 30, right: 45 }],
    [[45, 30], { top: 0, left: 12, bottom: 30, right: 32 }],
    [[48, 80], { top: 2, left: 0, bottom: 29, right: 45 }],
  ])("for %j is %j", ([height, width], crop) => {
    expect(centredCrop({ height, width }, trained)).toEqual(crop);
  });
});

/** The angles of one token, from its row. */
const anglesOf = ({ cos, sin }: RotaryRows, token: number) =>
  Array.from({ length: 32 }, (_, pair) => Math.atan2(sin[token * 32 + pair], cos[token * 32 + pair]));

/** Turns adjacent pairs of x by a token's row. */
function rotate(x: readonly number[], { cos, sin }: RotaryRows, token: number): number[] {
  return x.map((_, i) => {
    const [pair, a, b] = [token * 32 + (i >> 1), x[i & ~1], x[i | 1]];
    return i % 2 === 0 ? a * cos[pair] - b * sin[pair] : b * cos[pair] + a * sin[pair];
  });
}

describe("a head of 64 channels", () => {
  const grid: Grid = { frames: 3, height: 4, width: 5 };
  const rows = rotaryRows(grid, countingCoordinates(grid), 0, 64);
  const tokenAt = (t: number, y: number, x: number) => (t * grid.height + y) * grid.width + x;
  const ramp = Array.from({ length: 64 }, (_, i) => (i + 1) / 64);
  const dot = (a: readonly number[], b: readonly number[]) => a.reduce((sum, v, i) => sum + v * b[i], 0);

  test("turns by the published angles at (1, 2, 3)", () => {
    const angles = anglesOf(rows, tokenAt(1, 2, 3));
    expect([0, 1, 8, 9, 20, 21].map((pair) => angles[pair])).toBeCloseToArray(
      [1, 0.316228, 2, 0.928318, 3, 1.392477],
      { atol: 2e-6 },
    );
  });

  test("turns a ramp into the published numbers and keeps its length", () => {
    const turned = rotate(ramp, rows, tokenAt(1, 2, 3));
    expect([0, 1, 16, 17, 40, 41, 62, 63].map((i) => turned[i])).toBeCloseToArray(
      [-0.017854, 0.030032, -0.366279, 0.124491, -0.726824, -0.559278, 0.983728, 1.000636],
      { atol: 1e-6 },
    );
    expect(Math.hypot(...turned)).toBeCloseTo(4.672894, 5);
  });

  test("makes products depend on differences of position only", () => {
    const key = ramp.map((v) => Math.sin(9 * v));
    const product = (a: number, b: number) => dot(rotate(ramp, rows, a), rotate(key, rows, b));
    const near = product(tokenAt(0, 0, 0), tokenAt(1, 2, 3));
    expect(product(tokenAt(1, 1, 1), tokenAt(2, 3, 4))).toBeCloseTo(near, 4);
    expect(product(tokenAt(0, 0, 0), tokenAt(1, 3, 2))).not.toBeCloseTo(near, 1);
  });

  test("leaves text and the origin as they are", () => {
    const { cos, sin } = rotaryRows(grid, countingCoordinates(grid), 2, 64);
    expect(cos.slice(0, 3 * 32)).toEqual(new Float32Array(3 * 32).fill(1));
    expect(sin.slice(0, 3 * 32)).toEqual(new Float32Array(3 * 32));
    expect(cos.slice(3 * 32)).toEqual(rows.cos.slice(32));
  });
});

test("one frame, one row and one column are positions too", () => {
  const grid = { frames: 1, height: 1, width: 1 };
  const coordinates = linspaceCoordinates(grid, centredCrop(grid, trained));
  const { cos, sin } = rotaryRows(grid, coordinates, 0, 64);
  expect([...cos, ...sin].every(Number.isFinite)).toBe(true);
});
