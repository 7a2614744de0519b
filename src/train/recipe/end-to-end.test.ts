/** @file Tests of all of a training at 16 pixels: a VAE, then transformers that differ in how their steps are drawn and packed. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { toyRecipe } from "../../../test/helpers/toy-recipe.ts";
import { readMetrics } from "../run/metrics.ts";
import { runRecipe } from "./run-recipe.ts";

const all = mkdtempSync(join(tmpdir(), "cogvideox-end-to-end-"));
afterAll(() => rmSync(all, { recursive: true, force: true }));

/** Compiling a VAE's graph takes seconds of an idle machine. */
const LONG = 600_000;
const STEPS = 12;
/** As nano's recipe weighs tenths of the timesteps, so that a step's loss depends on which it has drawn. */
const WEIGHTS = "timestepWeights: [0.4, 1, 1.7, 1.8, 1.8, 1.6, 1.3, 0.8, 0.4, 0.2]";

/** Losses of a run in a folder of its own, and the numbers of its metrics that packing may not change. */
async function trained(name: string, text: string, only?: "vae") {
  const folder = join(all, name);
  const { output } = await runRecipe({ file: "toy.yaml", text }, { folder, only });
  const lines = await readMetrics(join(folder, "metrics.jsonl"));
  const column = (key: string) => lines.map((line) => Number(line[key]));
  return { output: output!, losses: column("loss"), gradientNorms: column("gradientNorm") };
}

const mean = (list: readonly number[]) => list.reduce((sum, value) => sum + value, 0) / list.length;
/** How much a curve goes up and down from step to step; its trend, which is slow, hardly counts. */
const roughness = (losses: readonly number[]) =>
  Math.sqrt(mean(losses.slice(1).map((loss, i) => (loss - losses[i]) ** 2)));

describe("clips of moving shapes", () => {
  const run: Record<string, Awaited<ReturnType<typeof trained>>> = {};
  beforeAll(async () => {
    run.vae = await trained("vae", toyRecipe({ vaeSteps: 20 }), "vae");
    const transformer = (name: string, fields: string, stage = "") => {
      const stages = `    - {steps: ${STEPS}, batch: 1, accumulate: 8, rate: 4e-3, warmUp: 0, ${WEIGHTS}${stage}}`;
      const top = `cache: ${join(all, "cache")}`;
      return trained(name, toyRecipe({ from: run.vae.output, stages, transformer: fields, top }));
    };
    run.explicit = await transformer("explicit", "timesteps: explicit");
    run.independent = await transformer("independent", "timesteps: independent");
    const pack = ", pack: {capacity: 400, sizes: [{frames: 9, size: 16}]}";
    run.packed = await transformer("packed", "timesteps: explicit", pack);
  }, LONG);

  test("are learned by the VAE, then by the transformer on its latents", () => {
    expect(mean(run.vae.losses.slice(-4))).toBeLessThan(0.8 * mean(run.vae.losses.slice(0, 4)));
    const { losses } = run.explicit;
    expect(losses).toHaveLength(STEPS);
    expect(mean(losses.slice(-4))).toBeLessThan(0.9 * mean(losses.slice(0, 4)));
  });

  test("give a smoother curve where timesteps are spread over a step than where each is drawn for itself", () => {
    expect(roughness(run.explicit.losses)).toBeLessThan(0.6 * roughness(run.independent.losses));
  });

  test("make the same run packed into rows and one by one", () => {
    expect(run.packed.losses).toBeCloseToArray(run.explicit.losses, { atol: 1e-3 });
    expect(run.packed.gradientNorms.slice(0, 4)).toBeCloseToArray(run.explicit.gradientNorms.slice(0, 4), {
      atol: 1e-3,
    });
  });
});
