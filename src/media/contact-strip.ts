/** @file A clip as one picture: frames at even distances in time, side by side. */
import sharp from "sharp";
import { fitImage } from "./fit.ts";
import type { RgbImage } from "./frames.ts";
import { readTimestamps, readVideo } from "./read.ts";

/** Most frames of a strip, and the most pixels that one of them is high. */
const FRAMES = 8;
const HEIGHT = 160;

/**
 * The clip in `file` as a PNG file's bytes: its first frame, its last one, and up to six between them, from left to right,
 * made smaller where they are higher than 160 pixels. Throws ConfigError as `readVideo`.
 */
export async function contactStrip(file: string): Promise<Uint8Array> {
  const { length } = await readTimestamps(file);
  const count = Math.min(FRAMES, length);
  const chosen = new Set(
    Array.from({ length: count }, (_, i) => (count === 1 ? 0 : Math.round((i * (length - 1)) / (count - 1)))),
  );
  const frames: RgbImage[] = [];
  let index = 0;
  for await (const frame of readVideo(file)) if (chosen.has(index++)) frames.push(smaller(frame));
  return joined(frames);
}

function smaller(frame: RgbImage): RgbImage {
  if (frame.height <= HEIGHT) return frame;
  const width = Math.max(1, Math.round((frame.width * HEIGHT) / frame.height));
  return fitImage(frame, { width, height: HEIGHT }, "stretch");
}

async function joined(frames: readonly RgbImage[]): Promise<Uint8Array> {
  const [{ width, height }] = frames;
  const rgb = new Uint8Array(frames.length * width * height * 3);
  for (const [i, frame] of frames.entries())
    for (let y = 0; y < height; y++) {
      const row = frame.rgb.subarray(y * width * 3, (y + 1) * width * 3);
      rgb.set(row, (y * frames.length + i) * width * 3);
    }
  const raw = { width: frames.length * width, height, channels: 3 } as const;
  return sharp(rgb, { raw }).png().toBuffer();
}
