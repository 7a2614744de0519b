/** @file Tests of training from images: a model grows channels for them, sees first frames there, and uses them. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { temporaryFolder } from "../../../test/helpers/command-line.ts";
import { toyRecipe } from "../../../test/helpers/toy-recipe.ts";
import { openCheckpoint } from "../../pipeline/checkpoint.ts";
import { kindsOf } from "../../pipeline/mode.ts";
import { Engine } from "../../runtime/engine.ts";
import { readLora } from "../../weights/lora/adapter.ts";
import { shapesClips } from "./clips.ts";
import { type FirstFrameSetting, firstFrames } from "./first-frames.ts";
import { readConfigs, readPart } from "./model-folder.ts";
import { parseRecipe } from "./parse-recipe.ts";
import { runRecipe, type Showing } from "./run-recipe.ts";
import type { Sample } from "./samples.ts";

/** Compiling a VAE's graph takes seconds of an idle machine. */
const LONG = 600_000;
const checkpoint = (name: string) =>
  fileURLToPath(new URL(`../../../test/fixtures/checkpoints/${name}`, import.meta.url));
const run = (text: string, folder: string, show?: Showing) =>
  runRecipe({ file: "toy.yaml", text }, { folder, show });

describe("a text-to-video model that learns from images", () => {
  const all = mkdtempSync(join(tmpdir(), "cogvideox-images-"));
  const shown: Sample[] = [];
  const show: Showing = {
    clip: async (base) => base,
    samples: async (_base, _folder, samples) => {
      shown.push(...samples);
      return [];
    },
  };
  let output = "";
  beforeAll(async () => {
    const top = "sample: {every: 4, prompts: [one, two]}";
    const text = toyRecipe({ vaeSteps: 1, transformer: "image: {dropout: 0.2}", top });
    output = (await run(text, join(all, "run"), show)).output!;
  }, LONG);

  afterAll(() => rmSync(all, { recursive: true, force: true }));

  test("comes out as an image-to-video model in the official layout", async () => {
    const opened = await openCheckpoint(output);
    expect(opened.transformer.config.inChannels).toBe(8);
    expect(kindsOf(opened)).toEqual(["image"]);
    const index = JSON.parse(readFileSync(join(output, "model_index.json"), "utf8"));
    expect(index._class_name).toBe("CogVideoXImageToVideoPipeline");
  });

  test("has begun to look at the image", async () => {
    const { shape, data } = (await readPart(output, "transformer")).get("patch_embed.proj.weight")!;
    const half = shape.slice(1).reduce((a, b) => a * b) / 2;
    const ofImage = data.filter((_, i) => i % (2 * half) >= half);
    expect(Math.max(...ofImage.map(Math.abs))).toBeGreaterThan(1e-4);
  });

  test("is shown at work on clips of the training set", () => {
    const clips = shapesClips(dataOf(toyRecipe()));
    expect(shown.map(({ prompt }) => prompt)).toEqual([clips.caption(0), clips.caption(1)]);
    const [first, second] = shown.map(({ seen }) => (seen?.kind === "image" ? seen.image : null));
    expect(first).toMatchObject({ width: 16, height: 16 });
    expect(first!.rgb).not.toEqual(second!.rgb);
  });

  test("sees first frames with noise in front of zeros, the same again for the same step", async () => {
    const engine = new Engine({ threads: 1 });
    const { vae: config } = await readConfigs(output);
    const clips = shapesClips(dataOf(toyRecipe()));
    const setting = { config, folder: output, clips, seed: 1, dropout: 0 };
    const [frames, dropped] = [setting, { ...setting, dropout: 1 }].map((one) => firstFrames(one, engine));
    const size = { width: 16, height: 16, frames: 9 };
    const samples = Array.from({ length: 9 }, (_, place) => ({ place, index: place % 3, size, frames: 5 }));
    const found = await frames.latents(1, samples);
    const frame = found[0].length / 5;
    for (const latents of found) {
      expect(latents.subarray(0, frame).some((x) => x !== 0)).toBe(true);
      expect(latents.subarray(frame).every((x) => x === 0)).toBe(true);
    }
    expect(distance(found[0], found[1])).toBeGreaterThan(2 * distance(found[0], found[3])); // other noise, same image
    expect(distance(found[0], found[3])).toBeGreaterThan(0);
    expect(await frames.latents(1, samples)).toEqual(found);
    expect((await frames.latents(2, samples))[0]).not.toEqual(found[0]);
    const none = await dropped.latents(1, samples.slice(0, 1));
    expect(none[0].every((x) => x === 0)).toBe(true);
    await engine.close();
  });
});

test("a recipe can say what latents of images are multiplied by; else it is what inference does", async () => {
  const folder = checkpoint("t2v-rope");
  const { vae: config } = await readConfigs(folder);
  const clips = shapesClips(dataOf(toyRecipe()));
  const engine = new Engine({ threads: 1 });
  const setting = { config, folder, clips, seed: 1, dropout: 0 };
  const made = async (more: Partial<FirstFrameSetting>) => {
    const frames = firstFrames({ ...setting, ...more }, engine);
    const size = { width: 16, height: 16, frames: 1 };
    const [latents] = await frames.latents(1, [{ place: 0, index: 0, size, frames: 1 }]);
    await frames.close();
    return latents;
  };
  const raw = await made({ scale: "raw" });
  const times = (factor: number) => raw.map((value) => value * factor);
  expect(await made({})).toBeCloseToArray(times(config.scalingFactor), { rtol: 1e-6, atol: 1e-6 });
  const inverted = await made({ config: { ...config, invertScale: true } });
  expect(inverted).toBeCloseToArray(times(1 / config.scalingFactor), { rtol: 1e-6, atol: 1e-6 });
  expect(Math.abs(config.scalingFactor - 1)).toBeGreaterThan(0.1);
  await engine.close();
});

test.each([
  ["as one graph", ""],
  ["block by block", ", recompute: true"],
])(
  "trains a LoRA of a 1.5 image-to-video model, with ofs and temporal patches, %s",
  async (_what, more) => {
    const folder = join(temporaryFolder(), "run");
    const text = toyRecipe({
      from: checkpoint("i2v-patch-t"),
      transformer: "lora: {rank: 2, alpha: 4}",
      stages: `    - {steps: 2, batch: 1${more}}`,
    });
    const { output } = await run(text, folder);
    const lora = await readLora(join(output!, "pytorch_lora_weights.safetensors"));
    expect(lora.layers.size).toBe(12);
  },
  LONG,
);

test(
  "trains a LoRA of a model with learned positions at that model's own size, and says which it is",
  async () => {
    const toy = toyRecipe({
      from: checkpoint("i2v-learned"),
      transformer: "lora: {rank: 2, alpha: 4}",
      stages: "    - {steps: 2, batch: 1}",
    });
    const sized = (size: string) => toy.replace("size: 16", `size: ${size}`);
    const { output } = await run(sized("64x48"), join(temporaryFolder(), "run"));
    const lora = await readLora(join(output!, "pytorch_lora_weights.safetensors"));
    expect(lora.layers.size).toBe(12);
    await expect(run(sized("48x64"), join(temporaryFolder(), "run"))).rejects.toThrow(
      "learned positions for 64x48 pixels only, got 48x64",
    );
  },
  LONG,
);

test("sees first frames of several sizes at once as it sees them one by one", async () => {
  const folder = checkpoint("t2v-rope");
  const { vae: config } = await readConfigs(folder);
  const clips = shapesClips(dataOf(toyRecipe()));
  const engine = new Engine({ threads: 1 });
  const { latents } = firstFrames({ config, folder, clips, seed: 1, dropout: 0 }, engine);
  const sizes = [16, 32, 16].map((side) => ({ width: side, height: side, frames: 9 }));
  const samples = sizes.map((size, i) => ({ place: i, index: i, size, frames: 3 - i }));
  const together = await latents(1, samples);
  expect(together.map(({ length }) => length)).toEqual([3 * 32, 2 * 128, 32]);
  for (const [i, sample] of samples.entries())
    expect((await latents(1, [sample]))[0]).toBeCloseToArray(together[i], { rtol: 1e-5, atol: 1e-6 });
  await engine.close();
});

test("refuses images for a LoRA of a text-to-video model", async () => {
  const lora = toyRecipe({ from: checkpoint("t2v-rope"), transformer: "image: {}\n  lora: {rank: 2}" });
  await expect(run(lora, join(temporaryFolder(), "run"))).rejects.toThrow(/no image-to-video model/);
});

function dataOf(text: string) {
  const { data } = parseRecipe(text, "toy.yaml");
  if (data.kind !== "shapes") throw new Error("the toy trains on shapes");
  return data;
}

function distance(a: Float32Array, b: Float32Array): number {
  return Math.hypot(...a.map((x, i) => x - b[i]));
}
