/** @file Conditioning on an image: its noise, its place, its scale, and samples that do without. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { f32, hashed, numbers } from "../../../test/helpers/host-tensor.ts";
import { runGraph } from "../../../test/helpers/run-graph.ts";
import { Engine } from "../../runtime/engine.ts";
import {
  conditionFactor,
  conditionLatents,
  imageNoiseSigmas,
  keptImages,
  noisyImages,
} from "./image-conditioning.ts";

let engine: Engine;
beforeAll(() => {
  engine = new Engine({ threads: 1 });
});
afterAll(() => engine.close());

const encoded = hashed([2, 1, 3, 2, 2], 5);

test("the image stands in latent frame 0, with zeros behind it", async () => {
  const feeds = [encoded, f32([2], [1, 1])];
  const result = await runGraph(engine, (x, kept) => conditionLatents(x, kept, 4, 0.7), feeds);
  expect(result.shape).toEqual([2, 4, 3, 2, 2]);
  const values = numbers(result);
  for (const sample of [0, 1]) {
    const image = numbers(encoded).slice(sample * 12, sample * 12 + 12);
    const clip = values.slice(sample * 48, sample * 48 + 48);
    expect(clip.slice(0, 12)).toBeCloseToArray(
      image.map((v) => v * 0.7),
      { atol: 1e-6 },
    );
    expect(clip.slice(12).every((value) => value === 0)).toBe(true);
  }
});

test("a dropped image leaves zeros, in its own sample only", async () => {
  const feeds = [encoded, f32([2], [0, 1])];
  const values = numbers(await runGraph(engine, (x, kept) => conditionLatents(x, kept, 2, 1), feeds));
  expect(values.slice(0, 24).every((value) => value === 0)).toBe(true);
  expect(values.slice(24, 36)).toEqual(numbers(encoded).slice(12));
});

test("the image is what the conditioning is made of", async () => {
  const run = (image: typeof encoded) =>
    runGraph(engine, (x, kept) => conditionLatents(x, kept, 1, 1), [image, f32([2], [1, 1])]);
  expect(numbers(await run(encoded))).toEqual(numbers(encoded));
  expect(numbers(await run(hashed([2, 1, 3, 2, 2], 6)))).not.toEqual(numbers(encoded));
});

test("scaled, raw and inverted are three factors", () => {
  expect([
    conditionFactor("scaled", 0.7),
    conditionFactor("raw", 0.7),
    conditionFactor("inverted", 0.7),
  ]).toEqual([0.7, 1, 1 / 0.7]);
});

test("every frame gets its own amount of noise", async () => {
  const image = hashed([2, 3, 1, 2, 2], 7);
  const noise = hashed([2, 3, 1, 2, 2], 8);
  const result = await runGraph(engine, noisyImages, [image, noise, f32([2], [0, 0.25])]);
  const expected = numbers(image).map((v, i) => v + (i < 12 ? 0 : 0.25) * numbers(noise)[i]);
  expect(numbers(result)).toBeCloseToArray(expected, { atol: 1e-6 });
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
