/** @file Detached values through the engine. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { f32, numbers } from "../../../test/helpers/host-tensor.ts";
import { runGraph } from "../../../test/helpers/run-graph.ts";
import { gradientsOrNull } from "../../autodiff/grad.ts";
import { input } from "../../graph/tensor.ts";
import { Engine } from "../../runtime/engine.ts";
import { detach } from "./detach.ts";

let engine: Engine;
beforeAll(() => {
  engine = new Engine({ threads: 1 });
});
afterAll(() => engine.close());

test("leaves values as they are, from the smallest gradients to the largest weights", async () => {
  const values = [0, 1, -1, Math.PI, 1e-6, -3.3e-12, 1.7e-20, 1e4, -123456.789, 0.1, 2 ** 30];
  const x = f32([values.length], values);
  expect(numbers(await runGraph(engine, detach, [x]))).toEqual(numbers(x));
});

test("lets no gradient through", () => {
  const x = input("x", [3]);
  expect(gradientsOrNull(detach(x).sum([0]), [x])).toEqual([null]);
});
