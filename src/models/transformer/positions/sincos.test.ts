/** @file Sine-cosine positions against values of the reference. */
import { expect, test } from "vitest";
import { sincosRows } from "./sincos.ts";

const scale = { spatial: 1.875, temporal: 1 };

test("the row of (2, 3, 4) is the reference's", () => {
  const rows = sincosRows({ frames: 3, height: 4, width: 6 }, 226, 1920, scale);
  const row = rows.subarray((226 + (2 * 4 + 3) * 6 + 4) * 1920);
  expect([0, 240, 480, 840, 1200, 1560].map((channel) => row[channel])).toBeCloseToArray(
    [0.909297, -0.416147, 0.845905, -0.533334, 0.999574, -0.0292],
    { atol: 1e-6 },
  );
});

test("time comes first, then x, then y", () => {
  const grid = { frames: 2, height: 3, width: 4 };
  const rows = sincosRows(grid, 0, 32, scale);
  const [t, y, x] = [1, 2, 3];
  const row = rows.subarray(((t * 3 + y) * 4 + x) * 32);
  expect([row[0], row[8], row[20]]).toBeCloseToArray(
    [Math.sin(t), Math.sin(x / 1.875), Math.sin(y / 1.875)],
    {
      atol: 1e-6,
    },
  );
  expect([row[4], row[14], row[26]]).toBeCloseToArray(
    [Math.cos(t), Math.cos(x / 1.875), Math.cos(y / 1.875)],
    {
      atol: 1e-6,
    },
  );
});

test("text has zeros", () => {
  const rows = sincosRows({ frames: 1, height: 1, width: 1 }, 5, 32, scale);
  expect(rows.subarray(0, 5 * 32).every((value) => value === 0)).toBe(true);
  expect(rows).toHaveLength(6 * 32);
});
