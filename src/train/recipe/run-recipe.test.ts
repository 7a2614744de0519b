/** @file Tests of whole runs at toy size: the loss falls, and a resumed run is the run that was never stopped. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { temporaryFolder } from "../../../test/helpers/command-line.ts";
import { toyRecipe } from "../../../test/helpers/toy-recipe.ts";
import { CancelledError, ConfigError } from "../../errors.ts";
import { openCheckpoint } from "../../pipeline/checkpoint.ts";
import { readLora } from "../../weights/lora/adapter.ts";
import { readMetrics } from "../run/metrics.ts";
import { turnsUntil } from "./contest.ts";
import { type RecipeEvent, type RunRecipeOptions, runRecipe, type Showing } from "./run-recipe.ts";

type Options = Omit<RunRecipeOptions, "folder">;
const run = (text: string, folder: string, options: Options = {}) =>
  runRecipe({ file: "toy.yaml", text }, { folder, ...options });

/** Compiling a VAE's graph takes seconds of an idle machine. */
const LONG = 600_000;

const files = [
  "vae/diffusion_pytorch_model.safetensors",
  "vae/config.json",
  "transformer/diffusion_pytorch_model.safetensors",
  "text_encoder/model.safetensors",
];

function stateAt(folder: string, step: number): Buffer {
  const name = `step-${String(step).padStart(8, "0")}`;
  return readFileSync(join(folder, "checkpoints", name, "state.safetensors"));
}

describe("a run of VAE, text encoder and transformer", () => {
  const text = toyRecipe({ vaeSteps: 40, transformerSteps: 60 });
  const all = mkdtempSync(join(tmpdir(), "cogvideox-recipe-"));
  const whole = join(all, "whole");
  const events: RecipeEvent[] = [];
  beforeAll(async () => {
    await run(text, whole, { onEvent: (event) => events.push(event) });
  }, LONG);
  afterAll(() => rmSync(all, { recursive: true, force: true }));

  test("brings the losses down, step by step in its metrics", async () => {
    const metrics = await readMetrics(join(whole, "metrics.jsonl"));
    expect(metrics.map(({ step }) => step)).toEqual(Array.from({ length: 100 }, (_, i) => i + 1));
    const mean = (name: string, from: number, to: number) =>
      metrics.slice(from, to).reduce((sum, line) => sum + Number(line[name]), 0) / (to - from);
    expect(mean("l1", 35, 40)).toBeLessThan(0.6 * mean("l1", 0, 5));
    expect(mean("loss", 90, 100)).toBeLessThan(0.9 * mean("loss", 40, 50));
    expect(metrics[99].loss_from_0).toBeGreaterThan(0);
    for (const { share, clipsPerSecond, secondsLeft } of [metrics[39], metrics[99]]) {
      // Toys are far from the peak; how far depends on the machine and on what else it does.
      expect(share).toBeGreaterThan(1e-5);
      expect(share).toBeLessThan(1);
      expect(clipsPerSecond).toBeGreaterThan(0);
      expect(secondsLeft).toBe(0);
    }
  });

  test("shows its recipe in TensorBoard, beside the numbers", () => {
    const file = readdirSync(whole).find((name) => name.startsWith("events.out.tfevents."))!;
    const events = readFileSync(join(whole, file));
    for (const part of ["recipe", "    seed: 3\n    dtype: f32\n", "vae/l1", "transformer/loss_from_0"])
      expect(events.includes(part), part).toBe(true);
  });

  test("gives out a checkpoint whose latents have unit deviation", async () => {
    expect(events.at(-1)).toEqual({ kind: "done", output: join(whole, "output"), steps: 100 });
    const checkpoint = await openCheckpoint(join(whole, "output"));
    expect(checkpoint.vae.config.scalingFactor).not.toBe(1);
  });

  test(
    "in pieces ends bit for bit like in a single piece: weights, moments, averages",
    async () => {
      const pieces = join(all, "pieces");
      const controller = new AbortController();
      const saved: number[] = [];
      const onEvent = (event: RecipeEvent) => {
        if (event.kind === "step" && event.step === 13) controller.abort();
        if (event.kind === "saved") saved.push(event.step);
      };
      await expect(run(text, pieces, { signal: controller.signal, onEvent })).rejects.toThrow(CancelledError);
      expect(saved).toEqual([10, 13]);
      const stopped = await run(text, pieces, { maxSteps: 41, resume: true });
      expect(stopped).toEqual({ output: null, step: 54 });
      await run(text, pieces, { resume: "auto" });
      expect(stateAt(pieces, 100).equals(stateAt(whole, 100))).toBe(true);
      for (const file of files)
        expect(
          readFileSync(join(pieces, "output", file)).equals(readFileSync(join(whole, "output", file))),
          file,
        ).toBe(true);
      expect((await readMetrics(join(pieces, "metrics.jsonl"))).map(({ step }) => step)).toHaveLength(100);
    },
    LONG,
  );

  test("is done when it is resumed after its end", async () => {
    expect(await run(text, whole, { resume: true })).toEqual({ output: join(whole, "output"), step: 100 });
  });

  test.each(["factorised", "sharedNorm", "plainNorm"])(
    "trains the variant %s and gives out nothing",
    async (variant) => {
      const from = join(whole, "output");
      const varied = toyRecipe({ from, transformerSteps: 2, transformer: `variant: ${variant}` });
      expect(await run(varied, join(temporaryFolder(), "run"))).toEqual({ output: null, step: 2 });
    },
    LONG,
  );

  test(
    "trains a LoRA on the mapped weights of a checkpoint, in the format of PEFT",
    async () => {
      const folder = join(temporaryFolder(), "run");
      const lora = "lora: {rank: 2, alpha: 4}";
      const top = "sample: {every: 2, prompts: [one], size: 24x16}";
      const recipe = toyRecipe({ from: join(whole, "output"), transformerSteps: 3, transformer: lora, top });
      const shown: unknown[] = [];
      const show: Showing = {
        clip: async (base) => base,
        samples: async (base, { folder, loras }, samples, { size }) => {
          const { layers } = await readLora(loras[0].file);
          shown.push({ folder, size, samples, layers: layers.size, ofLoras: loras.length });
          return [base];
        },
      };
      const { output } = await run(recipe, folder, { show });
      const sample = {
        folder: join(whole, "output"),
        size: { width: 24, height: 16 },
        samples: [{ prompt: "one" }],
        ...{ layers: 8, ofLoras: 1 },
      };
      expect(shown).toEqual([sample, sample]);
      expect(readdirSync(folder)).not.toContain("preview");
      const { layers } = await readLora(join(output!, "pytorch_lora_weights.safetensors"));
      expect(layers.size).toBe(8);
      expect(layers.get("transformer_blocks.1.attn1.to_q")).toMatchObject({ rank: 2, alpha: 4, scale: 2 });
      expect(stateAt(folder, 3).includes("weight/transformer.transformer_blocks.0.attn1.to_q.weight")).toBe(
        false,
      );
    },
    LONG,
  );

  test(
    "keeps a frozen text encoder, and carries the optimiser into a stage of more frames",
    async () => {
      const folder = join(temporaryFolder(), "run");
      const stages = "[{steps: 2, frames: 1, batch: 4}, {steps: 2, batch: 2}]";
      const staged = toyRecipe({ from: join(whole, "output"), transformer: "trainTextEncoder: false" });
      await run(staged.replace(/stages:\n {4}- \{steps: 4, batch: 4.*/, `stages: ${stages}`), folder);
      const place = join(folder, "checkpoints", "step-00000004", "state.json");
      const state = JSON.parse(readFileSync(place, "utf8"));
      expect(state).toMatchObject({ task: "transformer 2", state: { done: 2, updatesBefore: 2 } });
      expect(stateAt(folder, 4).includes("weight/text_encoder.")).toBe(false);
      const kept = (at: string) => readFileSync(join(at, "output", files[3]));
      expect(kept(folder).equals(kept(whole))).toBe(true);
    },
    LONG,
  );
});

test(
  "goes on exactly where VAE and discriminator take turns and only some terms are left out",
  async () => {
    const [whole, pieces] = [join(temporaryFolder(), "run"), join(temporaryFolder(), "run")];
    const discriminator = "discriminator: {start: 1, channels: [4, 8], temporalLevels: 1}";
    const text = toyRecipe({ vaeSteps: 5, vae: `perceptual: 0.1, ${discriminator}` }).replace(
      /stages:\n {4}- \{steps: 4, batch: 4.*/,
      "stages: []",
    );
    await run(text, whole);
    await run(text, pieces, { maxSteps: 3 });
    await run(text, pieces, { resume: true });
    expect(stateAt(pieces, 5).equals(stateAt(whole, 5))).toBe(true);
    const metrics = await readMetrics(join(whole, "metrics.jsonl"));
    expect(metrics.filter((line) => "discriminator" in line).map(({ step }) => step)).toEqual([2, 4]);
  },
  LONG,
);

test(
  "trains the decoder alone where the encoder is to stay",
  async () => {
    const folder = join(temporaryFolder(), "run");
    const text = toyRecipe({ vaeSteps: 1, vae: "train: decoder", top: "sample: {every: 1}" });
    const shapes: (readonly number[])[] = [];
    const show: Showing = {
      clip: async (base, { shape }) => {
        shapes.push(shape);
        return base;
      },
      samples: async () => [],
    };
    await run(text, folder, { only: "vae", show });
    const config = JSON.parse(readFileSync(join(folder, "model", "vae", "config.json"), "utf8"));
    expect(config.scaling_factor).toBe(1);
    expect(shapes).toEqual([[1, 3, 32, 16]]);
    const stored = stateAt(folder, 1);
    expect(stored.includes("weight/decoder.conv_in.conv.weight")).toBe(true);
    expect(stored.includes("weight/encoder.")).toBe(false);
  },
  LONG,
);

test(
  "trains VAE and transformer on clips that are wider than high, and writes both sides down",
  async () => {
    const shapes: (readonly number[])[] = [];
    const show: Showing = {
      clip: async (base, { shape }) => {
        shapes.push(shape);
        return base;
      },
      samples: async () => [],
    };
    const toy = toyRecipe({ vaeSteps: 2, transformerSteps: 2, top: "sample: {every: 2}\nguidance: 2.5" });
    const { output } = await run(toy.replace("size: 16", "size: 24x16"), join(temporaryFolder(), "run"), {
      show,
    });
    const config = (part: string) => JSON.parse(readFileSync(join(output!, part, "config.json"), "utf8"));
    expect(shapes).toEqual([[1, 3, 32, 24]]);
    expect(config("vae")).toMatchObject({ sample_width: 24, sample_height: 16 });
    expect(config("transformer")).toMatchObject({ sample_width: 12, sample_height: 8, _guidance_scale: 2.5 });
  },
  LONG,
);

test(
  "cuts square windows out of clips that are wider than high, where they have room",
  async () => {
    const cut = (crop: number) =>
      toyRecipe({ vaeSteps: 1, vae: `crop: ${crop}` }).replace("size: 16", "size: 24x16");
    await run(cut(16), join(temporaryFolder(), "run"), { maxSteps: 1 });
    await expect(run(cut(18), join(temporaryFolder(), "run"))).rejects.toThrow(
      "toy.yaml: vae.stages[0]: crop is 18 pixels, and clips have only 24x16; take a smaller one",
    );
  },
  LONG,
);

test("counts the turns of VAE and discriminator", () => {
  expect([1, 2, 3, 4, 5].map((step) => turnsUntil(step, 1))).toEqual([
    { vae: 1, judge: 0 },
    { vae: 1, judge: 1 },
    { vae: 2, judge: 1 },
    { vae: 2, judge: 2 },
    { vae: 3, judge: 2 },
  ]);
});

test("refuses at its start what a later stage would be refused for, and leaves room for the mended recipe", async () => {
  const folder = join(temporaryFolder(), "run");
  const staged = (more: string) =>
    toyRecipe({ stages: `    - {steps: 1, batch: 1}\n    - {steps: 1, batch: 1, ${more}}` });
  const events: RecipeEvent[] = [];
  const failing = (more: string) => run(staged(more), folder, { onEvent: (event) => events.push(event) });
  await expect(failing("size: 13")).rejects.toThrow(
    /^toy.yaml: transformer.stages\[1\]: clips of 9 frames of 13x13 pixels do not divide into latents/,
  );
  await expect(failing("size: 10")).rejects.toThrow(
    "toy.yaml: transformer.stages[1]: latents of 5x5 do not divide into 2x2 patches",
  );
  await expect(failing("pack: {capacity: 20, sizes: [{frames: 9, size: 16}]}")).rejects.toThrow(
    "toy.yaml: transformer.stages[1]: pack.capacity is 20",
  );
  await expect(failing("pack: {capacity: 60, sizes: [{frames: 9, size: 16}]}")).rejects.toThrow(
    /raise the capacity, or set their frames to 5$/,
  );
  expect(events).toEqual([]);
  expect(readdirSync(folder)).toEqual([]);
  writeFileSync(join(folder, "toy.yaml"), staged("size: 13"));
  await expect(failing("size: 13")).rejects.toThrow(ConfigError);
  expect(readdirSync(folder)).toEqual(["toy.yaml"]);
  rmSync(join(folder, "toy.yaml"));
  await run(staged("size: 8"), folder, { maxSteps: 0 });
});

test("says which stages are missing for vae and lora, and which layers a LoRA does not find", async () => {
  const folder = join(temporaryFolder(), "run");
  const plain = toyRecipe({ vaeSteps: 0 });
  await expect(run(plain, folder, { only: "vae" })).rejects.toThrow("toy.yaml has no vae.stages; add one");
  await expect(run(plain, folder, { only: "lora" })).rejects.toThrow(
    "toy.yaml has no transformer.lora; add one",
  );
  const from = fileURLToPath(new URL("../../../test/fixtures/checkpoints/t2v-rope", import.meta.url));
  const lora = toyRecipe({ from, transformer: "lora: {layers: [to_qq]}" });
  await expect(run(lora, folder)).rejects.toThrow(
    /^toy.yaml: transformer.stages\[0\]: transformer.lora.layers names to_qq, and .*t2v-rope has none of these layers$/,
  );
});

test("refuses a run that was begun with another recipe, naming what differs", async () => {
  const folder = join(temporaryFolder(), "run");
  const text = toyRecipe();
  await run(text, folder, { maxSteps: 0 });
  const going = run(text.replace("clips: 6", "clips: 7"), folder, { resume: true });
  await expect(going).rejects.toThrow(ConfigError);
  await expect(going).rejects.toThrow("another configuration: data would change its numbers");
  await expect(run(text, folder)).rejects.toThrow("already holds a training run");
  await run(text.replace("every: 10", "every: 1"), folder, { resume: true, maxSteps: 0 });
});

test("says which clips a VAE cannot take, and does not touch an output that is there", async () => {
  const folder = temporaryFolder();
  const odd = toyRecipe().replace("frames: 1,", "frames: 7,");
  await expect(run(odd, join(folder, "a"))).rejects.toThrow(
    "toy.yaml: vae.stages[0]: clips must be [4k + 1, 3, H, W]",
  );
  writeFileSync(join(folder, "there"), "");
  const taken = toyRecipe({ top: `output: ${join(folder, "there")}` });
  await expect(run(taken, join(folder, "b"))).rejects.toThrow("exists; move it away");
});
