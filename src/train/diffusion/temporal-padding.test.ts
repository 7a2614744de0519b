/** @file Repeating the first latent frame. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { counting, numbers } from "../../../test/helpers/host-tensor.ts";
import { runGraph } from "../../../test/helpers/run-graph.ts";
import { Engine } from "../../runtime/engine.ts";
import { padFrames, padFront } from "./temporal-padding.ts";

let engine: Engine;
beforeAll(() => {
  engine = new Engine({ threads: 1 });
});
afterAll(() => engine.close());

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
});
