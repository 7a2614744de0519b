/** @file What the tokens of a packed row are. */
import { expect, test } from "vitest";
import { transformerConfigs } from "../../../../test/helpers/released-models.ts";
import { parseTransformerConfig } from "../../../models/transformer/config.ts";
import { linspaceCoordinates, rotaryRows, TEXT } from "../../../models/transformer/positions/rope.ts";
import { packedRotary, rowLayout, tokenTable } from "./layout.ts";

const config = parseTransformerConfig(transformerConfigs["5b"], "config.json");
const image = { frames: 1, height: 4, width: 4 };
const clip = { frames: 2, height: 4, width: 6 };
const layout = rowLayout(config, [image, clip], 2);

test("texts come first, then videos, sample by sample", () => {
  const { segment, modality } = tokenTable(layout);
  expect([...segment]).toEqual([0, 0, 1, 1, ...Array(4).fill(0), ...Array(12).fill(1)]);
  expect([...modality]).toEqual([0, 0, 0, 0, ...Array(16).fill(1)]);
  expect([layout.textTokens, layout.videoTokens]).toEqual([4, 16]);
});

test("every clip counts from its own origin, and text has no place", () => {
  const { t, y, x } = tokenTable(layout).coordinates;
  const at = (token: number) => [t[token], y[token], x[token]];
  expect(at(0)).toEqual([TEXT, TEXT, TEXT]);
  expect([at(4), at(7)]).toEqual([
    [0, 0, 0],
    [0, 1, 1],
  ]);
  expect([at(8), at(13), at(14), at(19)]).toEqual([
    [0, 0, 0],
    [0, 1, 2],
    [1, 0, 0],
    [1, 1, 2],
  ]);
});

test("rotations are those that each clip would have alone", () => {
  const centred = (grid: { frames: number; height: number; width: number }) =>
    linspaceCoordinates(grid, { top: 0, left: 0, bottom: 30, right: 45 });
  for (const placement of [undefined, centred]) {
    const { cos, sin } = packedRotary(layout, 64, placement);
    const table = tokenTable(layout, placement);
    for (const { grid, video } of layout.segments) {
      const axes = placement ? placement(grid) : { t: [0, 1], y: [0, 1], x: [0, 1, 2] };
      const alone = rotaryRows(grid, axes, 0, 64);
      const from = (layout.textTokens + video.start) * 32;
      expect(cos.slice(from, from + alone.cos.length)).toEqual(alone.cos);
      expect(sin.slice(from, from + alone.sin.length)).toEqual(alone.sin);
    }
    expect(table.coordinates.t[4]).toBe(0);
    expect(cos.slice(0, 4 * 32).every((value) => value === 1)).toBe(true);
  }
});
