/** @file Tests that stages with recompute train as stages without, and without clipping link by link to the same weights. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { temporaryFolder } from "../../../test/helpers/command-line.ts";
import { toyRecipe } from "../../../test/helpers/toy-recipe.ts";
import { CancelledError } from "../../errors.ts";
import { Engine } from "../../runtime/engine.ts";
import { readCheckpoint } from "../run/checkpoints.ts";
import { readMetrics } from "../run/metrics.ts";
import { makeModelFolder } from "./model-folder.ts";
import { parseRecipe } from "./parse-recipe.ts";
import { runRecipe } from "./run-recipe.ts";

const folder = mkdtempSync(join(tmpdir(), "cogvideox-recompute-"));
const model = join(folder, "model");
beforeAll(() => makeModelFolder(model, parseRecipe(toyRecipe(), "toy.yaml")));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const pack = "pack: {capacity: 160, sizes: [{frames: 9, size: 16}, {frames: 5, size: 16}]}";

test.each([
  ["whole weights and images", "accumulate: 2, imageShare: 0.5", "trainTextEncoder: true"],
  ["weights in bfloat16, on two engines", "accumulate: 2, storage: bf16", "engines: {count: 2}"],
  ["a LoRA on packed rows", `${pack}, storage: bf16`, "lora: {rank: 2, alpha: 4}"],
])(
  "%s",
  async (_, stage, transformer) => {
    const trained = async (recompute: boolean) => {
      const stages = `    - {steps: 2, batch: 2, rate: 1e-3, warmUp: 0, recompute: ${recompute}, ${stage}}`;
      const top = "latents: {clips: 4}";
      const text = toyRecipe({ from: model, stages, transformer, top });
      const run = join(temporaryFolder(), "run");
      await runRecipe({ file: "toy.yaml", text }, { folder: run });
      const { tensors } = await readCheckpoint(join(run, "checkpoints"), 2);
      return { metrics: await readMetrics(join(run, "metrics.jsonl")), tensors };
    };
    const [whole, pieces] = [await trained(false), await trained(true)];
    for (const [i, line] of whole.metrics.entries()) {
      expect(pieces.metrics[i].loss).toBeCloseTo(Number(line.loss), 4);
      expect(pieces.metrics[i].gradientNorm).toBeCloseTo(Number(line.gradientNorm), 4);
    }
    expect([...pieces.tensors.keys()].sort()).toEqual([...whole.tensors.keys()].sort());
    // Adam divides by the gradient's size, so that weights differ where a gradient is all rounding; its mean does not.
    for (const [name, { data }] of whole.tensors)
      if (name.startsWith("mean/"))
        expect([...pieces.tensors.get(name)!.data]).toBeCloseToArray([...data], { atol: 2e-5, rtol: 1e-3 });
  },
  600_000,
);

test("whole weights updated link by link, killed in the middle of a step and resumed, end as collected ones", async () => {
  const recipe = (engines: string) =>
    toyRecipe({
      from: model,
      stages:
        "    - {steps: 4, batch: 2, rate: 1e-3, warmUp: 0, recompute: true, clip: null, imageShare: 0.5}",
      transformer: engines,
      top: "latents: {clips: 4}",
    });
  const start = (folder: string, text: string, options: { resume?: boolean; signal?: AbortSignal } = {}) =>
    runRecipe({ file: "toy.yaml", text }, { folder, ...options });
  const stateOf = async (run: string) => {
    const { tensors } = await readCheckpoint(join(run, "checkpoints"), 4);
    return { tensors, metrics: await readMetrics(join(run, "metrics.jsonl")) };
  };
  const [linked, collected, broken] = ["linked", "collected", "broken"].map((name) =>
    join(temporaryFolder(), name),
  );
  const updates = await countUpdates(() => start(linked, recipe("")));
  // A step updates the head, two blocks and the embedding; with two engines, both shares at once.
  expect(updates).toBe(4 * 4);
  expect(await countUpdates(() => start(collected, recipe("engines: {count: 2}")))).toBe(4 * 2);
  const [found, expected] = [await stateOf(linked), await stateOf(collected)];
  expect([...found.tensors.keys()].sort()).toEqual([...expected.tensors.keys()].sort());
  for (const [name, { data }] of expected.tensors) expect(found.tensors.get(name)!.data, name).toEqual(data);
  for (const [i, { loss, gradientNorm }] of expected.metrics.entries()) {
    expect(found.metrics[i].loss).toBe(loss);
    expect(Number(found.metrics[i].gradientNorm) / Number(gradientNorm)).toBeCloseTo(1, 5);
  }

  const stop = new AbortController();
  const stopping = countUpdates(
    () => start(broken, recipe(""), { signal: stop.signal }),
    (count) => {
      if (count === 6) stop.abort();
    },
  );
  await expect(stopping).rejects.toThrow(CancelledError);
  await expect(readCheckpoint(join(broken, "checkpoints"), 2)).resolves.toBeDefined();
  await start(broken, recipe(""), { resume: true });
  expect((await stateOf(broken)).tensors).toEqual(found.tensors);
}, 600_000);

/** Updates that engines run meanwhile. */
async function countUpdates(
  work: () => Promise<unknown>,
  onUpdate?: (count: number) => void,
): Promise<number> {
  let count = 0;
  const { run } = Engine.prototype;
  const spy = vi.spyOn(Engine.prototype, "run").mockImplementation(function (this: Engine, session, ...rest) {
    if (session.label === "update") {
      count++;
      onUpdate?.(count);
    }
    return run.call(this, session, ...rest);
  });
  try {
    await work();
  } finally {
    spy.mockRestore();
  }
  return count;
}
