/** @file Tests of training with masks and control videos: models grow channels, see what inference shows them, and use it. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import { temporaryFolder } from "../../../test/helpers/command-line.ts";
import { toyRecipe } from "../../../test/helpers/toy-recipe.ts";
import { edgesOf } from "../../data/clips/edges.ts";
import { createRng } from "../../diffusion/noise.ts";
import { signedToRgb } from "../../media/frames.ts";
import { createVideoWriter } from "../../media/write.ts";
import { openCheckpoint } from "../../pipeline/checkpoint.ts";
import { sourceImage, sourceVideo } from "../../pipeline/clip-source.ts";
import { controlMode } from "../../pipeline/control-to-video.ts";
import { inpaintMode } from "../../pipeline/inpaint-video.ts";
import { kindsOf, type Mode } from "../../pipeline/mode.ts";
import { loadPipeline } from "../../pipeline/pipeline.ts";
import { Engine } from "../../runtime/engine.ts";
import { openCache } from "../cache/cache.ts";
import { drawMask } from "../diffusion/mask-bank.ts";
import { shapesClips } from "./clips.ts";
import type { Conditioner } from "./conditioner.ts";
import { type ConditioningSetting, conditionerOf } from "./conditioning.ts";
import { encodeSet } from "./latent-set.ts";
import { readConfigs, readPart } from "./model-folder.ts";
import { parseRecipe } from "./parse-recipe.ts";
import { runRecipe, type Showing } from "./run-recipe.ts";
import type { Sample } from "./samples.ts";

/** Compiling a VAE's graph takes seconds of an idle machine. */
const LONG = 600_000;
const checkpoint = (name: string) =>
  fileURLToPath(new URL(`../../../test/fixtures/checkpoints/${name}`, import.meta.url));
const folder = checkpoint("t2v-rope");
const size = { width: 16, height: 16, frames: 9 };

describe.each([
  { kind: "control", field: "control: {kind: edges}", channels: 8, pipeline: "CogVideoXFunControlPipeline" },
  { kind: "inpaint", field: "inpaint: {}", channels: 9, pipeline: "CogVideoXPipeline" },
] as const)("a text-to-video model that learns $kind", ({ kind, field, channels, pipeline }) => {
  const all = mkdtempSync(join(tmpdir(), "cogvideox-conditions-"));
  afterAll(() => rmSync(all, { recursive: true, force: true }));

  test(
    "comes out in the official layout, has begun to look, and is shown at work on clips of the training set",
    async () => {
      const shown: Sample[] = [];
      const text = toyRecipe({
        vaeSteps: 1,
        transformer: field,
        top: "sample: {every: 4, prompts: [one, two]}\nvalidate: {every: 4, clips: 2, timesteps: 2}",
      });
      const { output } = await runRecipe(
        { file: "toy.yaml", text },
        { folder: join(all, "run"), show: keeping(shown) },
      );
      const opened = await openCheckpoint(output!);
      expect(opened.transformer.config.inChannels).toBe(channels);
      expect(kindsOf(opened)).toEqual([kind]);
      const index = JSON.parse(readFileSync(join(output!, "model_index.json"), "utf8"));
      expect(index._class_name).toBe(pipeline);
      expect(opened.transformer.config.noisyInpaint ?? false).toBe(kind === "inpaint");

      const { shape, data } = (await readPart(output!, "transformer")).get("patch_embed.proj.weight")!;
      const row = shape.slice(1).reduce((a, b) => a * b);
      const added = data.filter((_, i) => i % row >= (row / channels) * 4);
      expect(Math.max(...added.map(Math.abs))).toBeGreaterThan(1e-4);

      expect(shown.map(({ seen }) => seen?.kind)).toEqual([kind, kind]);
    },
    LONG,
  );
});

test("control videos are what inference makes of the same edges", async () => {
  const { conditioner, close } = await conditioning("control: {kind: edges}");
  const [seen] = await conditioner.latents(1, [{ place: 0, index: 2, size, frames: 3 }]);
  const clips = shapesClips(toyData());
  const frames = [...signedToRgb(await clips.pixels(2, size), size)];
  const pipeline = await loadPipeline(folder);
  const edges = frames.map((rgb) => ({ ...size, rgb: edgesOf(rgb, size) }));
  const control = await sourceVideo("control video", edges, pipeline.checkpoint.transformer.config, size);
  const mode = controlMode(pipeline, {}, control);
  expect(seen).toBeCloseToArray(await shownBy(mode, seen.length), { rtol: 1e-5, atol: 1e-5 });
  await pipeline.close();
  await close();
});

test("masked clips are what inference makes of the same two ends, the mask before the latents", async () => {
  const { conditioner, close } = await conditioning("inpaint: {masks: {all but both ends: 1}}");
  const place = placeWhere((known) => known.join() === "0,8");
  const [seen] = await conditioner.latents(1, [{ place, index: 1, size, frames: 3 }]);
  const frames = [...signedToRgb(await shapesClips(toyData()).pixels(1, size), size)];
  const pipeline = await loadPipeline(folder);
  const picture = (rgb: Uint8Array) => sourceImage("image", { ...size, rgb }, size);
  const ends = { start: await picture(frames[0]), end: await picture(frames[8]) };
  const mode = inpaintMode(pipeline, {}, size, ends);
  expect(seen).toBeCloseToArray(await shownBy(mode, seen.length), { rtol: 1e-5, atol: 1e-5 });
  expect(seen.some((value) => value !== 0)).toBe(true);
  await pipeline.close();
  await close();
});

test("masked clips differ from step to step, and nothing is seen of most that are masked everywhere", async () => {
  const { conditioner, close } = await conditioning("inpaint: {masks: {everything: 1}}");
  const samples = Array.from({ length: 20 }, (_, place) => ({
    place,
    index: place % 6,
    size,
    frames: 3,
  }));
  const found = await conditioner.latents(1, samples);
  const empty = found.filter((latents) => latents.every((value) => value === 0)).length;
  expect(empty).toBeGreaterThan(12);
  await close();
  const drawn = await conditioning("inpaint: {masks: {random frames: 1}}");
  const [first] = await drawn.conditioner.latents(1, samples.slice(0, 1));
  expect(await drawn.conditioner.latents(1, samples.slice(0, 1))).toEqual([first]);
  expect(await drawn.conditioner.latents(2, samples.slice(0, 1))).not.toEqual([first]);
  await drawn.close();
});

test(
  "control videos of a folder go by the names of the data's own",
  async () => {
    const [data, controls] = [temporaryFolder(), temporaryFolder()];
    mkdirSync(join(controls, "clips"));
    mkdirSync(join(data, "clips"));
    await writeVideo(join(data, "clips", "a.webp"), 200);
    writeFileSync(join(data, "clips", "a.txt"), "a grey square");
    writeFileSync(join(data, "metadata.jsonl"), '{"file": "clips/a.webp", "caption": "a grey square"}\n');
    const text = toyRecipe({
      from: folder,
      transformer: `control: {kind: folder, path: ${controls}}`,
    }).replace(/^data: .*$/m, `data: {kind: folder, path: ${data}, size: 16, frames: 9}`);
    const run = () => runRecipe({ file: "toy.yaml", text }, { folder: join(temporaryFolder(), "run") });
    await expect(run()).rejects.toThrow(`there is no ${join(controls, "clips", "a.webp")}`);
    await writeVideo(join(controls, "clips", "a.webp"), 90);
    expect((await run()).output).not.toBeNull();
  },
  LONG,
);

test.each([
  ["image: {}\n  control: {kind: edges}", "transformer has image and control"],
  ["control: {kind: folder, path: x}", "shapes have none"],
])("a recipe with %j is refused", (field, sentence) => {
  expect(() => parseRecipe(toyRecipe({ transformer: field }), "toy.yaml")).toThrow(sentence);
});

test("a control model wants to know what its control videos are, and is no inpainting model", async () => {
  const run = (transformer: string) => {
    const text = toyRecipe({
      from: checkpoint("control"),
      transformer,
      stages: "    - {steps: 1, batch: 1}",
    });
    return runRecipe({ file: "toy.yaml", text }, { folder: join(temporaryFolder(), "run") });
  };
  await expect(run("textDropout: 0")).rejects.toThrow(
    "say in transformer.control what its control videos are",
  );
  await expect(run("inpaint: {}")).rejects.toThrow("is no inpainting model");
});

/** The conditioner of the toy's clips with the weights of a checkpoint. */
async function conditioning(
  field: string,
): Promise<{ conditioner: Conditioner; close: () => Promise<void> }> {
  const recipe = parseRecipe(toyRecipe({ from: folder, transformer: field }), "toy.yaml");
  const engine = new Engine({ threads: 1 });
  const read = await readConfigs(folder);
  const { outChannels } = read.transformer;
  const inChannels = 2 * outChannels + (recipe.transformer.inpaint === undefined ? 0 : 1);
  const configs = { ...read, transformer: { ...read.transformer, inChannels } };
  const cache = await openCache(join(temporaryFolder(), "cache"), { precision: "f32" });
  const setting: ConditioningSetting = {
    ...{ recipe, configs, folder, sizes: [size], engines: [engine] },
    encode: (clips, wanted) =>
      encodeSet({ config: read.vae, folder, clips, size: wanted, count: 3 }, cache, [engine], {
        signal: new AbortController().signal,
      }),
  };
  const seen = { clips: shapesClips(toyData()), seed: 1, isTraining: true };
  const conditioner = await conditionerOf(setting, seen);
  const close = async () => {
    await conditioner!.close();
    await engine.close();
  };
  return { conditioner: conditioner!, close };
}

/** The conditioning that a mode starts with. */
async function shownBy(mode: Mode, values: number): Promise<Float32Array> {
  const { frames, height, width } = mode.latents;
  const shape = [1, frames, 8, height, width];
  const { condition } = await mode.start({ shape, rng: createRng(0), plan: {} as never });
  expect(condition!.data).toHaveLength(values);
  return condition!.data as Float32Array;
}

/** The first sample whose mask leaves these frames. */
function placeWhere(isWanted: (known: readonly number[]) => boolean): number {
  for (let sample = 0; ; sample++) {
    const { data } = drawMask({ seed: 1, step: 1, sample }, size, { "all but both ends": 1 });
    const known = Array.from({ length: 9 }, (_, frame) => frame).filter((frame) => data[frame * 256] === 0);
    if (isWanted(known)) return sample;
  }
}

function keeping(shown: Sample[]): Showing {
  return {
    clip: async (base) => base,
    samples: async (_base, _folder, samples) => {
      shown.push(...samples);
      return [];
    },
  };
}

function toyData() {
  const { data } = parseRecipe(toyRecipe(), "toy.yaml");
  if (data.kind !== "shapes") throw new Error("the toy trains on shapes");
  return data;
}

async function writeVideo(file: string, grey: number): Promise<void> {
  const writer = await createVideoWriter(file, { width: 16, height: 16, fps: 8 });
  for (let frame = 0; frame < 9; frame++) await writer.write(new Uint8Array(768).fill(grey + frame));
  await writer.finish();
}
