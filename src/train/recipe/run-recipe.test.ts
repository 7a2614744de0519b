/** @file Tests of whole runs at toy size: the loss falls, and a resumed run is the run that was never stopped. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryFolder } from "../../../test/helpers/command-line.ts";
import { toyRecipe } from "../../../test/helpers/toy-recipe.ts";
import { CancelledError, ConfigError } from "../../errors.ts";
import { openCheckpoint } from "../../pipeline/checkpoint.ts";
import { readMetrics } from "../run/metrics.ts";
import { type RecipeEvent, runRecipe } from "./run-recipe.ts";

const run = (text: string, folder: string, options: Omit<Parameters<typeof runRecipe>[1], "folder"> = {}) =>
  runRecipe({ file: "toy.yaml", text }, { folder, ...options });

const parts = ["vae", "transformer", "text_encoder"] as const;
function weightsIn(folder: string): Buffer[] {
  return parts.map((part) =>
    readFileSync(
      join(folder, part, part === "text_encoder" ? "model.safetensors" : "diffusion_pytorch_model.safetensors"),
    ),
  );
}

function checkpointOf(folder: string, step: number): Buffer {
  return readFileSync(join(folder, "checkpoints", `step-${String(step).padStart(8, "0")}`, "state.safetensors"));
}

test("trains VAE, text encoder and transformer until the losses have fallen, and gives out a checkpoint", async () => {
  const folder = join(temporaryFolder(), "run");
  const events: RecipeEvent[] = [];
  const text = toyRecipe({ vaeSteps: 60, transformerSteps: 120, top: "sample: {every: 50}" });
  const { output, step } = await run(text, folder, { onEvent: (event) => events.push(event) });
  expect(step).toBe(180);
  const checkpoint = await openCheckpoint(output!);
  expect(checkpoint.vae.config.scalingFactor).not.toBe(1);
  const metrics = await readMetrics(join(folder, "metrics.jsonl"));
  expect(metrics.map(({ step }) => step)).toEqual(Array.from({ length: 180 }, (_, i) => i + 1));
  const mean = (name: string, from: number, to: number) =>
    metrics.slice(from, to).reduce((sum, line) => sum + Number(line[name]), 0) / (to - from);
  expect(mean("l1", 50, 60)).toBeLessThan(0.5 * mean("l1", 0, 5));
  expect(mean("loss", 160, 180)).toBeLessThan(0.8 * mean("loss", 60, 70));
  expect(events.at(-1)).toEqual({ kind: "done", output, steps: 180 });
});

test("a run in pieces ends bit for bit like one in a single piece: weights, moments, averages", async () => {
  const [whole, pieces] = [join(temporaryFolder(), "run"), join(temporaryFolder(), "run")];
  const text = toyRecipe();
  await run(text, whole);
  for (const maxSteps of [2, 3, 2]) {
    const stopped = await run(text, pieces, { maxSteps, resume: "auto" });
    expect(stopped.output).toBeNull();
  }
  await run(text, pieces, { resume: true });
  expect(checkpointOf(pieces, 8).equals(checkpointOf(whole, 8))).toBe(true);
  for (const [i, bytes] of weightsIn(join(pieces, "output")).entries())
    expect(bytes.equals(weightsIn(join(whole, "output"))[i]), parts[i]).toBe(true);
});

test("saves where it is cancelled, and goes on from there", async () => {
  const [whole, broken] = [join(temporaryFolder(), "run"), join(temporaryFolder(), "run")];
  const text = toyRecipe({ vaeSteps: 5, transformerSteps: 2 });
  await run(text, whole);
  const controller = new AbortController();
  const saved: number[] = [];
  const stopping = run(text, broken, {
    signal: controller.signal,
    onEvent: (event) => {
      if (event.kind === "step" && event.step === 4) controller.abort();
      if (event.kind === "saved") saved.push(event.step);
    },
  });
  await expect(stopping).rejects.toThrow(CancelledError);
  expect(saved).toEqual([3, 4]);
  await run(text, broken, { resume: true });
  expect(checkpointOf(broken, 7).equals(checkpointOf(whole, 7))).toBe(true);
});

test("goes on exactly where VAE and discriminator take turns, and where images are among the clips", async () => {
  const [whole, pieces] = [join(temporaryFolder(), "run"), join(temporaryFolder(), "run")];
  const discriminator = "discriminator: {start: 1, channels: [4, 8], temporalLevels: 1}";
  const text = toyRecipe({
    vaeSteps: 6,
    transformerSteps: 1,
    vae: `imageShare: 0.5, perceptual: 0.1, ${discriminator}`,
  });
  await run(text, whole);
  await run(text, pieces, { maxSteps: 4 });
  await run(text, pieces, { resume: true });
  expect(checkpointOf(pieces, 6).equals(checkpointOf(whole, 6))).toBe(true);
  const metrics = await readMetrics(join(whole, "metrics.jsonl"));
  expect(metrics.filter((line) => "discriminator" in line).map(({ step }) => step)).toEqual([2, 4, 6]);
});

test("leaves the encoder alone where only the decoder learns, and the text encoder where it is frozen", async () => {
  const folder = join(temporaryFolder(), "run");
  await run(toyRecipe({ vae: "train: decoder", transformer: "trainTextEncoder: false" }), folder);
  const stored = checkpointOf(folder, 4);
  expect(stored.includes("weight/decoder.conv_in.conv.weight")).toBe(true);
  expect(stored.includes("weight/encoder.")).toBe(false);
  expect(checkpointOf(folder, 8).includes("weight/text_encoder.")).toBe(false);
});

test.each(["factorised", "sharedNorm", "plainNorm"])("trains the variant %s and gives out nothing", async (variant) => {
  const folder = join(temporaryFolder(), "run");
  const text = toyRecipe({ vaeSteps: 1, transformerSteps: 2, transformer: `variant: ${variant}` });
  expect((await run(text, folder)).output).toBeNull();
});

test("carries the optimiser into a second stage, with more frames and clips of images before", async () => {
  const folder = join(temporaryFolder(), "run");
  const stages = "[{steps: 2, frames: 1, batch: 4}, {steps: 2, batch: 2}]";
  const text = toyRecipe({ vaeSteps: 1 }).replace(/stages:\n {4}- \{steps: 4, batch: 4.*/, `stages: ${stages}`);
  await run(text, folder);
  const state = JSON.parse(readFileSync(join(folder, "checkpoints", "step-00000005", "state.json"), "utf8"));
  expect(state).toMatchObject({ task: "transformer 2", state: { done: 2, updatesBefore: 2 } });
});

test("refuses a run that was begun with another recipe, naming what differs", async () => {
  const folder = join(temporaryFolder(), "run");
  const text = toyRecipe({ vaeSteps: 2, transformerSteps: 1 });
  await run(text, folder, { maxSteps: 1 });
  const going = run(text.replace("clips: 6", "clips: 7"), folder, { resume: true });
  await expect(going).rejects.toThrow(ConfigError);
  await expect(run(text, folder)).rejects.toThrow("already holds a training run");
  await run(text.replace("every: 3", "every: 1"), folder, { resume: true });
});

test("says which clips a VAE cannot take, and does not touch an output that is there", async () => {
  const folder = temporaryFolder();
  const odd = toyRecipe().replace("frames: 9", "frames: 7");
  await expect(run(odd, join(folder, "a"))).rejects.toThrow("toy.yaml: vae.stages[0]: clips must be [8k + 1, 3, H, W]");
  writeFileSync(join(folder, "there"), "");
  const taken = toyRecipe({ top: `output: ${join(folder, "there")}` });
  await expect(run(taken, join(folder, "b"))).rejects.toThrow("exists; move it away");
});
