/** @file Which positions the released models use, and which sizes they refuse. */
import { describe, expect, test } from "vitest";
import { transformerConfigs } from "../../../../test/helpers/released-models.ts";
import { ConfigError } from "../../../errors.ts";
import { parseTransformerConfig } from "../config.ts";
import { positionsFor, trainedFrames } from "./positions.ts";

const configOf = (name: keyof typeof transformerConfigs) =>
  parseTransformerConfig(transformerConfigs[name], "config.json");
const trained = { frames: 13, height: 60, width: 90 };
const small = { frames: 2, height: 8, width: 12 };

describe("positions", () => {
  test("of 2b are rows of sines that are added, at any size", () => {
    const { added, rotary } = positionsFor(configOf("2b"), small, 226);
    expect(rotary).toBeNull();
    expect(added.kind === "rows" && added.rows.length).toBe((226 + 2 * 4 * 6) * 1920);
  });

  test("of 5b are rotations", () => {
    const { added, rotary } = positionsFor(configOf("5b"), small, 10);
    expect(added.kind).toBe("none");
    expect(rotary?.cos.length).toBe((10 + 2 * 4 * 6) * 32);
  });

  test("of 5b-I2V are rotations and a learned table", () => {
    const { added, rotary } = positionsFor(configOf("5b-I2V"), trained, 226);
    expect(added.kind).toBe("learned");
    expect(rotary?.sin.length).toBe(17776 * 32);
  });

  test("of 5b-I2V fall back to sines for another number of frames", () => {
    expect(positionsFor(configOf("5b-I2V"), { ...trained, frames: 1 }, 226).added.kind).toBe("rows");
  });

  test("of 1.5 count pairs of frames", () => {
    expect(positionsFor(configOf("1.5-5B"), small, 0).rotary?.cos.length).toBe(1 * 4 * 6 * 32);
  });
});

describe("sizes that do not fit", () => {
  test.each([
    ["2b with another text length", "2b", small, 100, "exactly 226 text tokens, got 100"],
    ["5b-I2V in another resolution", "5b-I2V", small, 226, "positions for 720x480 pixels only, got 96x64"],
    [
      "1.5 beyond its table",
      "1.5-5B",
      { frames: 2, height: 302, width: 16 },
      226,
      "at most 2400x2400 pixels fit",
    ],
    [
      "1.5 with an odd number of frames",
      "1.5-5B",
      { ...small, frames: 3 },
      226,
      "3 latent frames do not divide",
    ],
    ["an odd height", "5b", { ...small, height: 7 }, 226, "must be multiples of 16"],
  ] as const)("are refused: %s", (_, name, size, textLength, message) => {
    const positions = () => positionsFor(configOf(name), size, textLength);
    expect(positions).toThrow(ConfigError);
    expect(positions).toThrow(message);
  });
});

test("49 frames are 13 in latents, 81 are 21", () => {
  expect([trainedFrames(configOf("5b")), trainedFrames(configOf("1.5-5B"))]).toEqual([13, 21]);
});
