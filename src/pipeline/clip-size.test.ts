/** @file Sizes of clips: the models' own, the legal ones, and what is said about others. */
import { describe, expect, test } from "vitest";
import { transformerConfigs } from "../../test/helpers/released-models.ts";
import { ConfigError } from "../errors.ts";
import { parseTransformerConfig } from "../models/transformer/config.ts";
import { clipSize, inpaintSize, latentSize, sourceFrames, trainedFps } from "./clip-size.ts";

const configOf = (name: keyof typeof transformerConfigs) =>
  parseTransformerConfig(transformerConfigs[name], "config.json");
const [v1, v15] = [configOf("5b"), configOf("1.5-5B")];
const inpaint15 = { ...v15, inChannels: 33 };

describe("without a request", () => {
  test("a clip has the size its model was made for", () => {
    expect(clipSize(v1)).toEqual({ width: 720, height: 480, frames: 49 });
    expect(clipSize(v15)).toEqual({ width: 1360, height: 768, frames: 81 });
    expect([trainedFps(v1), trainedFps(v15), trainedFps(inpaint15)]).toEqual([8, 16, 8]);
  });

  test("a model of another size keeps its own", () => {
    const config = parseTransformerConfig(
      { patch_size_t: 2, sample_width: 8, sample_height: 6 },
      "config.json",
    );
    expect(clipSize(config)).toMatchObject({ width: 64, height: 48 });
  });
});

test("a request changes what it names", () => {
  expect(clipSize(v1, { width: 256, frames: 9 })).toEqual({ width: 256, height: 480, frames: 9 });
  expect(clipSize(v1, { frames: 1 }).frames).toBe(1);
});

test("a clip to inpaint may fill temporal patches by itself, and only those", () => {
  expect(inpaintSize(inpaint15, { frames: 85 })).toEqual({ width: 1360, height: 768, frames: 85 });
  expect(latentSize(inpaint15, inpaintSize(inpaint15, { frames: 85 })).frames).toBe(22);
  expect(latentSize(inpaint15, inpaintSize(inpaint15, { frames: 81 })).frames).toBe(22);
  expect(() => inpaintSize(inpaint15, { frames: 84 })).toThrow("frames must be 4k + 1, got 84");
  expect(() => inpaintSize({ ...v1, inChannels: 33 }, { frames: 53 })).toThrow("frames must be 8k + 1");
});

describe("an illegal size is refused with the nearest legal ones", () => {
  test.each([
    [{ width: 250 }, "width must be a multiple of 16, got 250; the nearest are 240 and 256"],
    [{ height: 8 }, "height must be a multiple of 16, got 8; the least is 16"],
    [{ height: 0 }, "height must be a multiple of 16, got 0; the least is 16"],
    [{ width: -16 }, "width must be a multiple of 16, got -16; the least is 16"],
    [{ width: 16.5 }, "width must be a multiple of 16, got 16.5; the nearest are 16 and 32"],
    [{ frames: 48 }, "frames must be 8k + 1, got 48; the nearest are 41 and 49"],
    [{ frames: 5 }, "frames must be 8k + 1, got 5; the nearest are 1 and 9"],
    [{ frames: 0 }, "frames must be 8k + 1, got 0; the least is 1"],
    [{ width: Number.POSITIVE_INFINITY }, /^width must be a multiple of 16, got Infinity$/],
    [{ frames: Number.NaN }, /^frames must be 8k \+ 1, got NaN$/],
  ])("%j", (request, message) => {
    expect(() => clipSize(v1, request)).toThrow(ConfigError);
    expect(() => clipSize(v1, request)).toThrow(message);
  });
});

describe("latents", () => {
  test("are an eighth of the pixels across and a quarter of the frames plus one", () => {
    expect(latentSize(v1, clipSize(v1))).toEqual({ frames: 13, height: 60, width: 90 });
    expect(latentSize(v1, { width: 64, height: 48, frames: 1 })).toEqual({ frames: 1, height: 6, width: 8 });
  });

  test("of CogVideoX 1.5 are filled up to whole pairs", () => {
    expect(latentSize(v15, clipSize(v15))).toEqual({ frames: 22, height: 96, width: 170 });
    expect(latentSize(v15, { ...clipSize(v15), frames: 161 }).frames).toBe(42);
  });
});

describe("frames of a clip from outside", () => {
  test("are as many as need no padding, up to the model's own length", () => {
    expect([1, 8, 9, 16, 17, 300].map((available) => sourceFrames(v1, available))).toEqual([
      1, 1, 9, 9, 17, 49,
    ]);
    expect([8, 15, 16, 300].map((available) => sourceFrames(v15, available))).toEqual([8, 8, 16, 80]);
  });

  test("are those asked for, where there are so many", () => {
    expect(sourceFrames(v1, 300, 57)).toBe(57);
    expect(() => sourceFrames(v1, 20, 25)).toThrow(/frames is 25, but the video has 20/);
    expect(() => sourceFrames(v1, 20, 16)).toThrow(/frames must be 8k \+ 1, got 16/);
    expect(() => sourceFrames(v15, 90, 81)).toThrow(/frames must be a multiple of 8, got 81/);
    expect(() => sourceFrames(v15, 7)).toThrow(/the video has 7 frames, but this model needs at least 8/);
  });
});
