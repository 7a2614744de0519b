/** @file A run saved from code: the recipe is inside, and a name that cannot be written is refused before the work. */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readRecipe } from "../media/recipe.ts";
import { loadPipeline, type Pipeline } from "./pipeline.ts";
import { saveVideo } from "./save-video.ts";
import { textToVideo } from "./text-to-video.ts";

let pipeline: Pipeline;
let folder: string;
beforeAll(async () => {
  pipeline = await loadPipeline("test/fixtures/checkpoints/t2v-rope");
  folder = await mkdtemp(join(tmpdir(), "cogvideox-save-"));
});
afterAll(async () => {
  await pipeline.close();
  await rm(folder, { recursive: true });
});

test("embeds the run's recipe", async () => {
  const file = join(folder, "clip.webm");
  await saveVideo(textToVideo(pipeline, { prompt: "A red circle.", steps: 1, seed: 3 }), file);
  expect(await readRecipe(file)).toMatchObject({
    prompt: "A red circle.",
    steps: 1,
    seed: 3,
    width: 64,
    frames: 9,
  });
});

test("refuses an unknown extension before anything has run", async () => {
  const segments: string[] = [];
  const onSegment = ({ name }: { name: string }) => void segments.push(name);
  const events = textToVideo(pipeline, { prompt: "A red circle.", steps: 1, onSegment });
  await expect(saveVideo(events, join(folder, "clip.avi"))).rejects.toThrow("clip.avi");
  expect(segments).toEqual([]);
  expect(await readdir(folder)).toEqual(["clip.webm"]);
});
