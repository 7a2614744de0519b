/** @file Strips show the right frames from left to right. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { contactStrip } from "./contact-strip.ts";
import { readImage } from "./read.ts";
import { createVideoWriter } from "./write.ts";

const folder = mkdtempSync(join(tmpdir(), "cogvideox-strip-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Grey levels of 10, 20, 30, ..., in the middle of every frame of the strip of a clip. */
async function strip(name: string, frames: number, size: { width: number; height: number }) {
  const file = join(folder, name);
  const writer = await createVideoWriter(file, { ...size, fps: 8, quality: 100 });
  for (let i = 0; i < frames; i++)
    await writer.write(new Uint8Array(3 * size.width * size.height).fill(10 * (i + 1)));
  await writer.finish();
  const { rgb, width, height } = await readImage(await contactStrip(file));
  const at = (x: number) => Math.round(rgb[3 * (Math.floor(height / 2) * width + x)] / 10);
  return { width, height, at };
}

test("seventeen frames are shown as eight, from the first to the last", async () => {
  const { width, height, at } = await strip("clip-png", 17, { width: 32, height: 16 });
  expect([width, height]).toEqual([8 * 32, 16]);
  expect(Array.from({ length: 8 }, (_, i) => at(32 * i + 16))).toEqual([1, 3, 6, 8, 10, 12, 15, 17]);
});

test("a short clip is shown whole, and one frame as itself", async () => {
  const three = await strip("three.webp", 3, { width: 16, height: 16 });
  expect([three.width, ...[8, 24, 40].map(three.at)]).toEqual([48, 1, 2, 3]);
  const one = await strip("one-png", 1, { width: 16, height: 16 });
  expect([one.width, one.at(8)]).toEqual([16, 1]);
});

test("high frames are made smaller and keep their shape", async () => {
  const { width, height, at } = await strip("high-png", 2, { width: 480, height: 320 });
  expect([width, height]).toEqual([2 * 240, 160]);
  expect([120, 360].map(at)).toEqual([1, 2]);
});
