/** @file Where tiles lie, and which tilings are refused. */
import { expect, test } from "vitest";
import { ConfigError } from "../../errors.ts";
import { parseVaeConfig } from "./config.ts";
import { tileStarts, tilingFor } from "./tiling.ts";

const official = parseVaeConfig({}, "config.json");

test("lies as the reference's tiles do at the released size", () => {
  expect(tilingFor(official, "decode")).toEqual({
    height: { size: 30, stride: 25, blend: 40, keep: 200 },
    width: { size: 45, stride: 36, blend: 72, keep: 288 },
  });
  expect(tilingFor(official, "encode")).toEqual({
    height: { size: 240, stride: 200, blend: 5, keep: 25 },
    width: { size: 360, stride: 288, blend: 9, keep: 36 },
  });
  const { height, width } = tilingFor(official, "decode");
  expect([tileStarts(60, height), tileStarts(90, width)]).toEqual([
    [0, 25, 50],
    [0, 36, 72],
  ]);
  expect([tileStarts(96, height).length, tileStarts(170, width).length]).toEqual([4, 5]);
});

test("refuses tiles that would leave gaps", () => {
  const small = parseVaeConfig({ sample_height: 48, sample_width: 64 }, "config.json");
  expect(() => tilingFor(small, "decode")).toThrow(ConfigError);
  expect(() => tilingFor(small, "decode")).toThrow("would start every 16 pixels and contribute 20");
});
