/** @file Tests of frame rates as fractions. */
import { expect, test } from "vitest";
import { ConfigError } from "../errors.ts";
import { frameRate } from "./frame-rate.ts";

test.each([
  [8, 8, 1],
  [7.5, 15, 2],
  [0.5, 1, 2],
  [1 / 3, 1, 3],
  [12.25, 49, 4],
  [23.976, 24000, 1001],
  [29.97, 30000, 1001],
  [60000 / 1001, 60000, 1001],
])("%d frames per second are %d/%d", (fps, num, den) => {
  expect(frameRate(fps)).toEqual({ num, den });
});

test.each([0, -8, Number.NaN, Number.POSITIVE_INFINITY, 1001])("refuses %d frames per second", (fps) => {
  expect(() => frameRate(fps)).toThrow(ConfigError);
});
