/** @file Tests of pixels: which of them a window or some frames take, where sides differ. */
import { expect, test } from "vitest";
import { framesAt, framesOf, shapesClips, windowOf } from "./clips.ts";
import { parseRecipe } from "./parse-recipe.ts";

const size = { width: 3, height: 2 };
/** Two frames; each value says its frame, channel, row and column. */
const code = (t: number, c: number, y: number, x: number) => 100 * t + 40 * c + 10 * y + x;
const every = (count: number) => Array.from({ length: count }, (_, i) => i);
const planes = every(2).flatMap((t) =>
  every(3).flatMap((c) => every(2).flatMap((y) => every(3).map((x) => code(t, c, y, x)))),
);
const pixels = Float32Array.from(planes);

test("frames and windows are taken out of the right rows and columns", () => {
  expect([...framesOf(pixels, size, 1, 1)]).toEqual(planes.slice(18));
  const window = windowOf(pixels, size, { row: 0, column: 1 }, 2);
  const expected = every(2).flatMap((t) =>
    every(3).flatMap((c) => every(2).flatMap((y) => [1, 2].map((x) => code(t, c, y, x)))),
  );
  expect([...window]).toEqual(expected);
});

test("shapes are drawn in the width and height that are asked for", async () => {
  const { data } = parseRecipe("vae: {stages: [{steps: 1}]}", "toy.yaml");
  if (data.kind !== "shapes") throw new Error("shapes are the default");
  const clips = shapesClips({ ...data, frames: 5 });
  const whole = await clips.pixels(0, { width: 24, height: 16 });
  expect(whole).toHaveLength(5 * 3 * 24 * 16);
  expect(await clips.firstFrame(0, { width: 24, height: 16 })).toEqual(whole.slice(0, 3 * 24 * 16));
  expect(await clips.pixels(0, { width: 16, height: 24 })).not.toEqual(whole);
});

test("a clip at twice the rate has a frame between every two, and at half of it every other one", async () => {
  const { data } = parseRecipe("vae: {stages: [{steps: 1}]}", "toy.yaml");
  if (data.kind !== "shapes") throw new Error("shapes are the default");
  const clips = shapesClips({ ...data, frames: 5, fps: 8 });
  const square = { width: 16, height: 16 };
  const frame = 3 * 16 * 16;
  const [plain, fast, slow] = await Promise.all([8, 16, 4].map((fps) => clips.pixels(0, square, fps)));
  expect(plain).toEqual(await clips.pixels(0, square));
  expect([plain, fast, slow].map(({ length }) => length / frame)).toEqual([5, 9, 3]);
  const nth = (pixels: Float32Array, t: number) => framesOf(pixels, square, t, 1);
  for (let t = 0; t < 5; t++) expect(nth(fast, 2 * t)).toEqual(nth(plain, t));
  for (let t = 0; t < 3; t++) expect(nth(slow, t)).toEqual(nth(plain, 2 * t));
});

test.each([
  [8, 17],
  [16, 33],
  [4, 9],
  [12, 25],
  [23.976, 48],
])("17 frames at 8 a second are at %d a second %i", (fps, frames) => {
  expect(framesAt({ frames: 17, fps: 8 }, fps)).toBe(frames);
});
