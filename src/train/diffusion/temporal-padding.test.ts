/** @file Repeating the first latent frame, and taking the repetitions away. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { counting, numbers } from "../../../test/helpers/host-tensor.ts";
import { runGraph } from "../../../test/helpers/run-graph.ts";
import { Engine } from "../../runtime/engine.ts";
import { dropFront, padFrames, padFront, repeatedFrames } from "./temporal-padding.ts";

let engine: Engine;
beforeAll(() => {
  engine = new Engine({ threads: 1 });
});
afterAll(() => engine.close());

test("81 frames are 21 latents and become 22, 161 become 42, an image becomes two", () => {
  expect([21, 41, 1, 22].map((frames) => frames + repeatedFrames(frames, 2))).toEqual([22, 42, 2, 22]);
});

test("patches longer than two are filled up too, and models without them are left alone", () => {
  expect([1, 2, 3, 4, 5].map((frames) => repeatedFrames(frames, 4))).toEqual([3, 2, 1, 0, 3]);
  expect(repeatedFrames(21, null)).toBe(0);
});

test.each([
  [1, 2, [0, 0]],
  [3, 2, [0, 0, 1, 2]],
  [4, 2, [0, 1, 2, 3]],
  [5, 4, [0, 0, 0, 0, 1, 2, 3, 4]],
])("%i frames in patches of %i", async (frames, patch, expected) => {
  const clip = counting([1, frames, 1, 1, 1]);
  const padded = await runGraph(engine, (x) => padFront(x, patch).add(0), [clip]);
  expect(numbers(padded)).toEqual(expected);
  expect([...padFrames(Float32Array.from(numbers(clip)), frames, expected.length)]).toEqual(expected);
  const back = await runGraph(engine, (x) => dropFront(padFront(x, patch), frames).add(0), [clip]);
  expect(numbers(back)).toEqual(numbers(clip));
});
