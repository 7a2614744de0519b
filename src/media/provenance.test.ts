/** @file The mark of its origin in every format of file. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { xmpDigitalSourceType, xmpPacket } from "./embed.ts";
import { AI_GENERATED, readDigitalSourceType } from "./provenance.ts";
import { probeVideo } from "./read.ts";
import { readRecipe } from "./recipe.ts";
import { createVideoWriter } from "./write.ts";

const folder = mkdtempSync(join(tmpdir(), "cogvideox-test-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function written(name: string, digitalSourceType?: string): Promise<string> {
  const file = join(folder, name);
  const recipe = { prompt: "<ä & b>" };
  const writer = await createVideoWriter(file, { width: 16, height: 16, fps: 8, recipe, digitalSourceType });
  for (let t = 0; t < 3; t++) await writer.write(new Uint8Array(16 * 16 * 3).fill(60 * t));
  await writer.finish();
  return file;
}

describe.each(["clip.mp4", "clip.webm", "clip.mkv", "clip.gif", "clip.webp", "clip-png"])("%s", (name) => {
  test("says that a model has made it, keeps the recipe and can be read", async () => {
    const file = await written(name, AI_GENERATED);
    expect(await readDigitalSourceType(file)).toBe(AI_GENERATED);
    expect(await readRecipe(file)).toEqual({ prompt: "<ä & b>" });
    expect((await probeVideo(file)).frames).toBe(3);
  });

  test("says nothing when it is not told", async () => {
    expect(await readDigitalSourceType(await written(`not-${name}`))).toBeNull();
  });
});

test("a packet is read back, as an element or an attribute", () => {
  expect(xmpDigitalSourceType(xmpPacket({ digitalSourceType: AI_GENERATED }))).toBe(AI_GENERATED);
  expect(xmpDigitalSourceType(`<rdf:Description Iptc4xmpExt:DigitalSourceType="${AI_GENERATED}"/>`)).toBe(
    AI_GENERATED,
  );
  expect(xmpDigitalSourceType(xmpPacket({ description: "text" }))).toBeNull();
});

test("ffprobe reads a marked MP4 without complaint", async () => {
  const file = await written("probe.mp4", AI_GENERATED);
  const probed = spawnSync("ffprobe", [
    "-v",
    "warning",
    "-count_frames",
    "-show_entries",
    "stream=nb_read_frames",
    file,
  ]);
  if (probed.error) return; // ffprobe is not installed
  expect(probed.stderr.toString()).toBe("");
  expect(probed.stdout.toString()).toContain("nb_read_frames=3");
});
