/** @file Tests that a learner goes on from a checkpoint as if it had never stopped. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { input } from "../../graph/tensor.ts";
import { Engine } from "../../runtime/engine.ts";
import { Learner, type LossGraph } from "../learner.ts";
import { defaultAdamW } from "../optimiser/adamw.ts";
import { tensorsOf } from "./learner-tensors.ts";
import { openRun } from "./run-folder.ts";

let engine: Engine;
let folder: string;
beforeAll(async () => {
  engine = new Engine({ threads: 1 });
  folder = await mkdtemp(join(tmpdir(), "cogvideox-learner-"));
});
afterAll(async () => {
  await engine.close();
  await rm(folder, { recursive: true });
});

test("goes on bit for bit from what was saved role by role", async () => {
  const settings = { adamW: defaultAdamW, clip: 1, average: true };
  const [w, b] = [input("w", [2, 3]), input("b", [3])];
  const loss = w.add(b).mul(w).mean([0, 1]);
  const graph: LossGraph = {
    name: "test",
    loss,
    report: {},
    params: new Map([
      ["w", w],
      ["b", b],
    ]),
  };
  const weights = new Map([
    ["w", { shape: [2, 3], data: Float32Array.of(1, -2, 3, -4, 5, -6) }],
    ["b", { shape: [3], data: Float32Array.of(0.5, 0.25, -1) }],
  ]);
  const step = (learner: Learner, n: number) => learner.step(n, 0.1, [{ graph, feeds: {} }]);

  const learner = await Learner.start([engine], weights, settings);
  await step(learner, 1);
  const run = await openRun(join(folder, "run"), { config: { name: "a.json", text: "{}" }, seed: 1 });
  const expected = await learner.tensors();
  await run.save({ step: 1, task: "test", tensors: tensorsOf(learner, true), state: null });
  const restored = await run.latest();
  await run.close();
  expect(restored?.tensors).toEqual(
    new Map([...expected].map(([name, { shape, data }]) => [name, { shape, data }])),
  );

  const other = await Learner.restore([engine], restored!.tensors, settings);
  await step(learner, 2);
  await step(other, 2);
  expect(await other.tensors()).toEqual(await learner.tensors());
  await learner.close();
  await other.close();
});
