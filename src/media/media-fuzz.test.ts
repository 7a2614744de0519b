/** @file Pictures and clips with bytes changed or cut off are read or refused in a sentence, and no crash takes the process. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import fc from "fast-check";
import sharp from "sharp";
import { afterAll, describe, expect, test } from "vitest";
import { ConfigError } from "../errors.ts";
import { readImage, readVideo } from "./read.ts";
import { readRecipe } from "./recipe.ts";
import { createVideoWriter } from "./write.ts";

const folder = mkdtempSync(path.join(tmpdir(), "media-fuzz-"));
afterAll(() => rmSync(folder, { recursive: true }));

const noise = sharp({
  create: {
    ...{ width: 40, height: 30, channels: 3, background: "teal" },
    noise: { type: "gaussian", mean: 128, sigma: 40 },
  },
});

/** Some bytes of a file replaced, and perhaps its end missing. */
function damaged(whole: Uint8Array): fc.Arbitrary<Buffer> {
  const change = fc.tuple(fc.nat(whole.length - 1), fc.nat(255));
  const changes = fc.array(change, { minLength: 1, maxLength: 8 });
  const length = fc.oneof(fc.constant(whole.length), fc.nat(whole.length));
  return fc.tuple(changes, length).map(([places, end]) => {
    const copy = Buffer.from(whole);
    for (const [at, value] of places) copy[at] = value;
    return copy.subarray(0, end);
  });
}

/** Whether this works (true) or fails in a sentence (false); anything else is thrown. */
async function works(read: () => Promise<unknown>): Promise<boolean> {
  try {
    await read();
    return true;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    expect(error.message).toMatch(/^cannot read .*; give a|^cannot read .*damaged; make it anew/s);
    return false;
  }
}

describe("pictures", () => {
  test.each(["png", "jpeg", "webp", "avif", "gif", "tiff"] as const)("%s", async (format) => {
    const whole = await noise.clone().toFormat(format).toBuffer();
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(damaged(whole), async (bytes) => {
        if (!(await works(() => readImage(bytes)))) refused++;
      }),
      { numRuns: 40, seed: 1 },
    );
    expect(refused).toBeGreaterThan(0);
  });
});

describe("clips, and the recipes inside", () => {
  test.each(["mp4", "webm", "mkv", "gif", "webp"])("%s", async (format) => {
    const file = path.join(folder, `clip.${format}`);
    const writer = await createVideoWriter(file, { width: 32, height: 24, fps: 8, recipe: { prompt: "a" } });
    for (let t = 0; t < 4; t++)
      await writer.write(new Uint8Array(32 * 24 * 3).map((_, i) => (i * i * 7 + t * 40) % 256));
    await writer.finish();
    await fuzzClip(readFileSync(file), format, 20);
  });

  test.each(["deep.mkv", "interlaced.mpegts", "grey.avi", "odd.webm"])("%s", async (name) => {
    await fuzzClip(readFileSync(`test/fixtures/media/clips/${name}`), path.extname(name).slice(1), 12);
  });
});

async function fuzzClip(whole: Uint8Array, format: string, numRuns: number): Promise<void> {
  const file = path.join(folder, `damaged.${format}`);
  const readAll = async () => {
    for await (const { rgb, width, height } of readVideo(file)) expect(rgb.length).toBe(width * height * 3);
  };
  await fc.assert(
    fc.asyncProperty(damaged(whole), async (bytes) => {
      writeFileSync(file, bytes);
      await works(readAll);
      await works(() => readRecipe(file));
    }),
    { numRuns, seed: 1 },
  );
}
