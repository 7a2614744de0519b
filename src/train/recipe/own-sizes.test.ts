/** @file Tests of packed stages whose clips have sizes of their own: videos of several shapes train without being cut to one. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { toyRecipe } from "../../../test/helpers/toy-recipe.ts";
import { createVideoWriter } from "../../media/write.ts";
import { readMetrics } from "../run/metrics.ts";
import type { ClipSize } from "./clip-size.ts";
import { folderClips } from "./folder-clips.ts";
import { ownSizes } from "./own-sizes.ts";
import { parseRecipe } from "./parse-recipe.ts";
import { runRecipe } from "./run-recipe.ts";

const folder = mkdtempSync(join(tmpdir(), "cogvideox-sizes-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const videos: Readonly<Record<string, ClipSize>> = {
  "long-wide": { width: 64, height: 32, frames: 12 },
  "short-tall": { width: 20, height: 40, frames: 6 },
  "short-wide": { width: 40, height: 20, frames: 7 },
};

beforeAll(async () => {
  for (const [name, { frames, ...size }] of Object.entries(videos)) {
    const writer = await createVideoWriter(join(folder, `${name}.mkv`), { ...size, fps: 8 });
    for (let i = 0; i < frames; i++)
      await writer.write(new Uint8Array(3 * size.width * size.height).fill(20 * i));
    await writer.finish();
    writeFileSync(join(folder, `${name}.txt`), `a ${name} video`);
  }
});

const sizes = "[{frames: 9, size: 32x16}, {frames: 5, size: 32x16}, {frames: 5, size: 16x32}]";
const pack = `pack: {capacity: 400, choose: nearest, sizes: ${sizes}}`;
const fromFolder = (text: string) =>
  text.replace(/^data: .*$/m, `data: {kind: folder, path: ${folder}, size: 32, frames: 9, short: freeze}`);

test("every video is cut to the size that is nearest to its own, and encoded at that one alone", async () => {
  const stages = `    - {steps: 2, batch: 3, rate: 1e-3, ${pack}}`;
  const text = fromFolder(toyRecipe({ vaeSteps: 0, stages }));
  const { data, transformer } = parseRecipe(text, "toy.yaml");
  if (data.kind !== "folder") throw new Error("a folder was asked for");
  const found = await ownSizes(transformer.stages[0], await folderClips(data, 1), 3);
  expect(found).toEqual([
    { frames: 9, width: 32, height: 16 },
    { frames: 5, width: 16, height: 32 },
    { frames: 5, width: 32, height: 16 },
  ]);
  const run = join(folder, "run");
  await runRecipe({ file: "toy.yaml", text }, { folder: run });
  const metrics = await readMetrics(join(run, "metrics.jsonl"));
  expect(metrics.map(({ loss }) => Number.isFinite(Number(loss)))).toEqual([true, true]);
  // One row: 12 tokens of text each, 5 x 32 of the long video, 3 x 32 of the others.
  for (const { filled } of metrics) expect(filled).toBeCloseTo((172 + 108 + 108) / 400, 6);
  const files = (readdirSync(join(run, "cache"), { recursive: true }) as string[]).map(String);
  expect(files.filter((name) => /moments.*\.safetensors$/.test(name))).toHaveLength(3);
}, 600_000);

test("shapes have no sizes of their own", () => {
  const stages = `    - {steps: 2, batch: 3, ${pack.replaceAll("32x16", "16x8").replaceAll("16x32", "8x16")}}`;
  expect(() => parseRecipe(toyRecipe({ stages }), "toy.yaml")).toThrow(
    "transformer.stages[0].pack.choose is nearest, and shapes have no sizes of their own",
  );
});
