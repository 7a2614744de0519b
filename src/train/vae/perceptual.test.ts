/** @file The distance without weights, and the frame it is taken of. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { hashInput } from "../../../test/helpers/hash-fill.ts";
import { f32, hashed, i64, numbers } from "../../../test/helpers/host-tensor.ts";
import { runGraph } from "../../../test/helpers/run-graph.ts";
import { gradients, gradientsOrNull } from "../../autodiff/grad.ts";
import { input } from "../../graph/tensor.ts";
import { Engine } from "../../runtime/engine.ts";
import { perceptualFrame, perceptualTerm, plainPerceptual, pyramidDistance } from "./perceptual.ts";

const shape = [1, 3, 16, 16];

let engine: Engine;
beforeAll(() => {
  engine = new Engine({ threads: 1 });
});
afterAll(() => engine.close());

test("is 0 for equal pictures and grows with blur", async () => {
  const pixels = hashInput(shape, 3, 2);
  const sharp = f32(shape, [...pixels]);
  const around = (i: number, radius: number): number => {
    const row = Math.floor(i / 16) * 16;
    const near = Array.from({ length: 2 * radius + 1 }, (_, k) => row + ((i - row + k - radius + 16) % 16));
    return near.reduce((sum, at) => sum + pixels[at], 0) / near.length;
  };
  const blurred = (radius: number) =>
    f32(
      shape,
      Array.from(pixels, (_, i) => around(i, radius)),
    );
  const distance = async (radius: number) =>
    numbers(await runGraph(engine, plainPerceptual(), [blurred(radius), sharp]))[0];
  const found = [await distance(0), await distance(1), await distance(4)];
  expect(found[0]).toBe(0);
  expect(found[1]).toBeGreaterThan(0.01);
  expect(found[2]).toBeGreaterThan(found[1]);
});

test("puts a constant offset into the rest of the pyramid, and a checkerboard into its first octave", async () => {
  const black = f32(shape, Array(768).fill(0));
  const grey = f32(shape, Array(768).fill(0.5));
  const board = f32(
    shape,
    Array.from({ length: 768 }, (_, i) => ((i + Math.floor(i / 16)) % 2 === 0 ? 0.5 : -0.5)),
  );
  expect(numbers(await runGraph(engine, pyramidDistance, [grey, black]))[0]).toBeCloseTo(0.5 / 4, 6);
  expect(numbers(await runGraph(engine, pyramidDistance, [board, black]))[0]).toBeCloseTo(0.5 / 4, 6);
});

test("has finite gradients on flat pictures", async () => {
  const flat = f32(shape, Array(768).fill(0.25));
  const slope = numbers(
    await runGraph(engine, (x, y) => gradients(plainPerceptual()(x, y), [x])[0], [flat, hashed(shape, 5)]),
  );
  expect(slope.every(Number.isFinite)).toBe(true);
  expect(Math.max(...slope)).toBeGreaterThan(0);
});

test("looks at one frame of the time axis and sends gradients to that frame alone", async () => {
  const clip = [3, 3, 8, 8];
  const build = (frame: number) => (x: ReturnType<typeof input>, y: ReturnType<typeof input>, at: typeof x) =>
    gradients(perceptualTerm(plainPerceptual(), at)(x, y), [x])[0].slice(0, frame, frame + 1);
  const norms: number[] = [];
  for (const frame of [0, 1, 2]) {
    const feeds = [hashed(clip, 1), hashed(clip, 2), i64([1], [1])];
    const slope = numbers(await runGraph(engine, build(frame), feeds));
    norms.push(slope.reduce((sum, value) => sum + Math.abs(value), 0));
  }
  expect(norms[0]).toBe(0);
  expect(norms[1]).toBeGreaterThan(0);
  expect(norms[2]).toBe(0);
  const [x, y, at] = [input("x", clip), input("y", clip), input("frame", [1], "i64")];
  expect(gradientsOrNull(perceptualTerm(plainPerceptual(), at)(x, y), [x])[0]).not.toBeNull();
});

test("draws every frame, the same one for the same place in training", () => {
  const drawn = Array.from({ length: 400 }, (_, step) => perceptualFrame(7, step, 0, 5));
  expect(new Set(drawn)).toEqual(new Set([0, 1, 2, 3, 4]));
  expect(perceptualFrame(7, 123, 0, 5)).toBe(drawn[123]);
  expect(perceptualFrame(7, 9, 0, 1)).toBe(0);
});
