/** @file Positions when training moves on to larger clips. */
import { expect, test } from "vitest";
import { transformerConfigs } from "../../../test/helpers/released-models.ts";
import { parseTransformerConfig } from "../../models/transformer/config.ts";
import { positionsFor } from "../../models/transformer/positions/positions.ts";
import { rotaryRows } from "../../models/transformer/positions/rope.ts";
import { interpolatedCoordinates, stagePositions } from "./stage-positions.ts";

const config = parseTransformerConfig(transformerConfigs["5b"], "config.json");
const small = { frames: 2, height: 8, width: 12 };
const large = { frames: 3, height: 16, width: 12 };
const at = (rows: Float32Array | undefined, token: number) => rows?.slice(token * 32, token * 32 + 32);

test("of the checkpoint are those of inference", () => {
  expect(stagePositions(config, small, 3, { kind: "checkpoint" })).toEqual(positionsFor(config, small, 3));
});

test("extrapolated, a token keeps its rotation when the clip around it grows", () => {
  const [before, after] = [small, large].map(
    (size) => stagePositions(config, size, 0, { kind: "extrapolate" }).rotary,
  );
  expect(at(after?.cos, 8 * 6 + 3 * 6 + 2)).toEqual(at(before?.cos, 4 * 6 + 3 * 6 + 2)); // (1, 3, 2)
});

test("interpolated, they stay inside those of the earlier stage, on the axes that grew", () => {
  const grid = { frames: 3, height: 8, width: 6 };
  const { t, y, x } = interpolatedCoordinates(grid, { frames: 2, height: 4, width: 9 });
  expect(Array.from(t)).toBeCloseToArray([0, 2 / 3, 4 / 3], { atol: 1e-6 });
  expect(Array.from(y)).toEqual([0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5]);
  expect(Array.from(x)).toEqual([0, 1, 2, 3, 4, 5]);
  const found = stagePositions(config, large, 2, { kind: "interpolate", base: small }).rotary;
  const axes = interpolatedCoordinates(grid, { frames: 2, height: 4, width: 6 });
  expect(found).toEqual(rotaryRows(grid, axes, 2, config.headDim));
});

test("of a model that adds them can only be its own", () => {
  const sines = parseTransformerConfig(transformerConfigs["2b"], "config.json");
  const size = { frames: 13, height: 60, width: 90 };
  expect(stagePositions(sines, size, 226, { kind: "checkpoint" }).added.kind).toBe("rows");
  expect(() => stagePositions(sines, size, 226, { kind: "extrapolate" })).toThrow(
    'positions are "extrapolate", which only models with rotary positions alone can do',
  );
});
