/** @file Tiles on the command line: what is asked for lines up, and what cannot be is refused in a sentence. */
import { expect, test } from "vitest";
import { parseVaeConfig } from "../models/vae/config.ts";
import { tilingFor } from "../models/vae/tiling.ts";
import { parseOptions } from "./options.ts";
import { tilingOf, tilingOptions, tilingTexts } from "./tiling-options.ts";

const parsed = (...args: string[]) => tilingOf(parseOptions(args, tilingOptions, []).values);
const official = parseVaeConfig({}, "config.json");

test("without sizes there are the reference's tiles, or none", () => {
  expect(parsed()).toBeUndefined();
  expect(parsed("--tiling")).toBe(true);
});

test("tiles of every size share about a sixth unless told otherwise, and line up in both directions", () => {
  for (let width = 16; width <= 512; width += 8) {
    const tiles = parsed("--tiling", "--tile-size", `${width}x64`);
    if (typeof tiles !== "object") throw new Error("no sizes");
    const { width: decoded } = tilingFor(official, "decode", tiles);
    const { width: encoded } = tilingFor(official, "encode", tiles);
    const shared = Math.max(8, 8 * Math.round(width / 48));
    expect(decoded).toEqual({
      size: width / 8,
      stride: (width - shared) / 8,
      blend: shared,
      keep: width - shared,
    });
    expect(encoded).toMatchObject({ size: width, stride: width - shared, blend: shared / 8 });
  }
});

test("what a recipe keeps of tiles asks for the same tiles", () => {
  const tiles = parsed("--tiling", "--tile-size", "392x240", "--tile-overlap", "8x40");
  const texts = tilingTexts(JSON.parse(JSON.stringify(tiles)));
  expect(texts).toEqual({ tiling: true, "tile-size": "392x240", "tile-overlap": "8x40" });
  expect(tilingFor(official, "decode", tiles as object).width).toMatchObject({ stride: 48, blend: 8 });
});

test.each([
  ["--tile-size needs --tiling", "--tile-size", "48x48"],
  ["--tile-overlap needs --tile-size", "--tiling", "--tile-overlap", "8x8"],
  [
    '--tile-size must be width x height in multiples of 8 pixels, such as 240x160, got "48"',
    "--tiling",
    "--tile-size",
    "48",
  ],
  ['--tile-size must be .* got "50x48"', "--tiling", "--tile-size", "50x48"],
  ['--tile-size must be .* got "0x48"', "--tiling", "--tile-size", "0x48"],
  [
    "--tile-overlap must be at most half of the tile, 24x24, got 8x32",
    "--tiling",
    "--tile-size",
    "48x48",
    "--tile-overlap",
    "8x32",
  ],
  ["--tile-overlap must be at most half of the tile, 4x24, got 8x8", "--tiling", "--tile-size", "8x48"],
])("refuses: %s", (says, ...args) => {
  expect(() => parsed(...args)).toThrow(new RegExp(says));
});
