/** @file Grids of tokens. */
import { expect, test } from "vitest";
import { transformerConfigs } from "../../../test/helpers/released-models.ts";
import { ConfigError } from "../../errors.ts";
import { parseTransformerConfig } from "./config.ts";
import { gridOf, leadingFrames, tokensOf } from "./grid.ts";

const v1 = parseTransformerConfig(transformerConfigs["5b"], "config.json");
const v15 = parseTransformerConfig(transformerConfigs["1.5-5B"], "config.json");

test.each([
  ["720x480x49", v1, { frames: 13, height: 60, width: 90 }, 17_550],
  ["1360x768x81", v15, { frames: 22, height: 96, width: 170 }, 44_880],
  ["1360x768x161", v15, { frames: 42, height: 96, width: 170 }, 85_680],
] as const)("a clip of %s has the published number of tokens", (_, config, size, tokens) => {
  expect(tokensOf(gridOf(config, size))).toBe(tokens);
});

test("sizes that do not divide are refused with what would", () => {
  const odd = () => gridOf(v1, { frames: 1, height: 7, width: 8 });
  expect(odd).toThrow(ConfigError);
  expect(odd).toThrow(
    "latents of 8x7 do not divide into 2x2 patches; pixel width and height must be multiples of 16",
  );
  expect(() => gridOf(v15, { frames: 3, height: 8, width: 8 })).toThrow("3 latent frames do not divide");
});

test.each([
  [2, [21, 41, 1, 22], [1, 1, 1, 0]],
  [4, [1, 2, 3, 4, 5], [3, 2, 1, 0, 3]],
  [null, [13, 21], [0, 0]],
])("fills temporal patches of %j up at the front", (patchT, frames, leading) => {
  expect(frames.map((count) => leadingFrames({ patchT }, count))).toEqual(leading);
});
