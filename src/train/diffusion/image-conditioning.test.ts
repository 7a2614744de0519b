/** @file Conditioning on an image: its noise, its scale, and samples that do without. */
import { expect, test } from "vitest";
import { conditionFactor, imageNoiseSigmas, keptImages } from "./image-conditioning.ts";

test("scaled, raw and inverted are three factors", () => {
  expect([
    conditionFactor("scaled", 0.7),
    conditionFactor("raw", 0.7),
    conditionFactor("inverted", 0.7),
  ]).toEqual([0.7, 1, 1 / 0.7]);
});

test("sigma is log-normal: median 0.050, mean 0.056, 90 % in 0.022 to 0.113", () => {
  const sigmas = [...imageNoiseSigmas({ seed: 1, step: 0 }, 0, 4000)].sort((a, b) => a - b);
  const mean = sigmas.reduce((a, b) => a + b, 0) / 4000;
  const found = [sigmas[200], sigmas[2000], mean, sigmas[3800]];
  expect(found).toBeCloseToArray([0.0219, 0.0498, 0.0564, 0.1133], { rtol: 0.05, atol: 0 });
  expect(imageNoiseSigmas({ seed: 1, step: 0 }, 3, 1)[0]).toBe(
    imageNoiseSigmas({ seed: 1, step: 0 }, 0, 4)[3],
  );
});

test("images are dropped by draws of their own", () => {
  const draw = { seed: 1, step: 0, probability: 0.05 };
  const share = keptImages(draw, 0, 4000).filter((k) => k === 0).length / 4000;
  expect(share).toBeGreaterThan(0.04);
  expect(share).toBeLessThan(0.06);
});
