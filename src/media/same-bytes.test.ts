/** @file The same frames give the same bytes. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryFolder } from "../../test/helpers/command-line.ts";
import { createRng, drawNormals } from "../diffusion/noise.ts";
import { createVideoWriter } from "./write.ts";

const size = { width: 96, height: 64 };
const numFrames = 17;

/** Soft blobs that drift over noise: enough for an encoder to look ahead and to search for motion. */
function driftingFrame(frame: number): Uint8Array {
  const noise = drawNormals(createRng(frame % 3), 3 * size.width * size.height);
  return Uint8Array.from(noise, (value, i) => {
    const [x, y] = [Math.floor(i / 3) % size.width, Math.floor(i / 3 / size.width)];
    const wave = Math.sin((x - 3 * frame) / 7 + (i % 3)) + Math.cos((y + 2 * frame) / 5);
    return Math.min(255, Math.max(0, 128 + 50 * wave + 4 * value));
  });
}

test.each(["mp4", "webm", "gif", "webp"])("in .%s, however often they are encoded", async (format) => {
  const file = join(temporaryFolder(), `clip.${format}`);
  const made = new Set<string>();
  for (let time = 0; time < 6; time++) {
    const writer = await createVideoWriter(file, { ...size, fps: 8 });
    for (let frame = 0; frame < numFrames; frame++) await writer.write(driftingFrame(frame));
    await writer.finish();
    made.add(readFileSync(file, "base64"));
  }
  expect(made.size).toBe(1);
});
