/** @file Tests of recipes that travel inside videos, animations and frames. */
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import fc from "fast-check";
import sharp from "sharp";
import { afterAll, describe, expect, test } from "vitest";
import { ConfigError } from "../errors.ts";
import { gifComments, xmpDescription } from "./embed.ts";
import { probeVideo, readVideo } from "./read.ts";
import { readRecipe } from "./recipe.ts";
import { createVideoWriter } from "./write.ts";

const folder = mkdtempSync(path.join(tmpdir(), "media-recipe-"));
afterAll(() => rmSync(folder, { recursive: true }));
const at = (name: string) => path.join(folder, name);
const hasFfprobe = spawnSync("ffprobe", ["-version"]).status === 0;

const recipe = {
  version: "0.1.0",
  prompt: "Ein \"Bär\" spielt Gitarre \\ <rdf:li> & ]]>,\nsagt: '日本語' 🎸\tund =;#",
  seed: 2 ** 40 + 7,
  settings: { steps: 50, guidance: 6, dynamic: true, negative: null },
  long: "panda ".repeat(500),
};

const names = ["a.mp4", "a.webm", "a.mkv", "a.gif", "a.webp", "a-png"];

describe.each(names)("a recipe in %s", (name) => {
  test.each([1, 3])("comes back letter for letter from a clip of %d frames", async (frames) => {
    await writeClip(name, frames, { recipe });
    expect(await readRecipe(at(name))).toEqual(recipe);
  });

  test("does not disturb the pictures", async () => {
    await writeClip(name, 3, { recipe });
    let count = 0;
    for await (const { width, height } of readVideo(at(name))) {
      expect([width, height]).toEqual([32, 16]);
      count++;
    }
    expect(count).toBe(3);
    expect(await probeVideo(at(name))).toMatchObject({ width: 32, height: 16, frames: 3 });
  });

  test("is null where none was given", async () => {
    await writeClip(name, 2, {});
    expect(await readRecipe(at(name))).toBeNull();
  });

  test("is null where the comment is not a recipe", async () => {
    await writeClip(name, 2, { metadata: { comment: "made by hand" } });
    expect(await readRecipe(at(name))).toBeNull();
  });
});

test("a single frame of a folder carries the recipe on its own", async () => {
  await writeClip("b-png", 2, { recipe });
  copyFileSync(at("b-png/frame_00001.png"), at("lonely.png"));
  expect(await readRecipe(at("lonely.png"))).toEqual(recipe);
});

test.each(["c.gif", "c.webp"])("%s with a recipe is still sound for another reader", async (name) => {
  await writeClip(name, 3, { recipe });
  const { pages, width, delay } = await sharp(at(name), { animated: true }).metadata();
  expect({ pages, width }).toEqual({ pages: 3, width: 32 });
  expect(delay).toHaveLength(3);
  expect((await sharp(at(name), { animated: true }).raw().toBuffer()).length).toBeGreaterThan(0);
});

test.skipIf(!hasFfprobe)(
  "ffprobe (skipped where it is not installed) shows recipe and title of an MP4",
  async () => {
    await writeClip("d.mp4", 2, { recipe, metadata: { title: "Bär" } });
    const args = ["-v", "error", "-show_format", "-of", "json", at("d.mp4")];
    const { tags } = JSON.parse(spawnSync("ffprobe", args, { encoding: "utf8" }).stdout).format;
    expect(JSON.parse(tags.comment)).toEqual(recipe);
    expect(tags.title).toBe("Bär");
  },
);

test("a missing file is a sentence", async () => {
  await expect(readRecipe(at("missing.mp4"))).rejects.toThrow(ConfigError);
});

test.each(["x.mp4", "x.gif", "x.webp", "x.png"])(
  "garbage named %s gives null or a ConfigError, never a crash",
  async (name) => {
    const magic = { "x.gif": "GIF89a", "x.webp": "RIFF____WEBP", "x.png": "\x89PNG\r\n\x1a\n" }[name] ?? "";
    writeFileSync(at(name), Buffer.from(`${magic}${"\x21\xfe\xff,;garbage".repeat(40)}`, "latin1"));
    const outcome = await readRecipe(at(name)).catch((error) => error);
    expect(outcome === null || outcome instanceof ConfigError).toBe(true);
  },
);

test("parsers of foreign bytes always end", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => Array.isArray(gifComments(bytes))));
  fc.assert(fc.property(fc.string(), (text) => xmpDescription(text) === null));
});

async function writeClip(
  name: string,
  frames: number,
  extra: { recipe?: unknown; metadata?: Record<string, string> },
): Promise<void> {
  const writer = await createVideoWriter(at(name), { width: 32, height: 16, fps: 8, ...extra });
  for (let t = 0; t < frames; t++)
    await writer.write(new Uint8Array(32 * 16 * 3).map((_, i) => (i * 7 + t * 40) % 256));
  await writer.finish();
}
