/** @file Tests of the mask that inpainting shows the model. */
import { expect, test } from "vitest";
import { maskOfLatents } from "./inpaint-video.ts";

const config = { temporalRatio: 4 };
const known = (frames: number, ...places: number[]) =>
  Array.from({ length: frames }, (_, i) => (places.includes(i) ? 1 : 0));

test("the first latent is the first frame", () => {
  expect(maskOfLatents(known(9, 0), config)).toEqual([1, 0, 0]);
  expect(maskOfLatents(known(1, 0), config)).toEqual([1]);
});

test("the others look at the two middle ones of their four frames, so a last frame leaves no trace", () => {
  expect(maskOfLatents(known(9, 8), config)).toEqual([0, 0, 0]);
  expect(maskOfLatents(known(9, 2), config)).toEqual([0, 0.5, 0]);
  expect(maskOfLatents(known(9, 6, 7), config)).toEqual([0, 0, 1]);
});
