/** @file Tests of written videos: ffprobe as referee, pixels read back, and what is left after failures. */
import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { ConfigError } from "../errors.ts";
import { openEncoder } from "./encode.ts";
import { formatOf, recordingOf } from "./formats.ts";
import { probeVideo, readImage, readVideo } from "./read.ts";
import { createVideoWriter, type VideoWriterOptions } from "./write.ts";

const folder = mkdtempSync(path.join(tmpdir(), "media-write-"));
afterAll(() => rmSync(folder, { recursive: true }));
const at = (name: string) => path.join(folder, name);
const hasFfprobe = spawnSync("ffprobe", ["-version"]).status === 0;

const small = { width: 64, height: 48, fps: 8 };

describe.skipIf(!hasFfprobe)("ffprobe (skipped where it is not installed) sees", () => {
  const bt709 = {
    pix_fmt: "yuv420p",
    color_range: "tv",
    color_space: "bt709",
    color_transfer: "bt709",
    color_primaries: "bt709",
  };

  test("an MP4 as H.264 High with BT.709 tags, all frames, the rate and the exact length", async () => {
    const stream = ffprobe(await writeClip("probe.mp4", small, 9));
    expect(stream).toMatchObject({ ...bt709, codec_name: "h264", profile: "High", width: 64, height: 48 });
    expect(stream).toMatchObject({ nb_read_frames: "9", avg_frame_rate: "8/1", duration: "1.125000" });
  });

  test("a WebM as VP9 with BT.709 tags, all frames and the rate", async () => {
    const stream = ffprobe(await writeClip("probe.webm", small, 9));
    expect(stream).toMatchObject({ ...bt709, codec_name: "vp9", nb_read_frames: "9", avg_frame_rate: "8/1" });
  });

  test("a GIF with all frames", async () => {
    expect(ffprobe(await writeClip("probe.gif", small, 9))).toMatchObject({
      codec_name: "gif",
      nb_read_frames: "9",
    });
  });

  test("a lossless MKV with all frames", async () => {
    expect(ffprobe(await writeClip("probe.mkv", small, 9))).toMatchObject({
      codec_name: "ffv1",
      nb_read_frames: "9",
    });
  });

  test("fractional frame rates exactly", async () => {
    const rates = [
      [23.976, "24000/1001"],
      [7.5, "15/2"],
    ] as const;
    for (const [fps, expected] of rates)
      expect(ffprobe(await writeClip("rate.mp4", { ...small, fps }, 4)).avg_frame_rate).toBe(expected);
  });

  test("the index before the pictures in an MP4, so that it plays while it loads", async () => {
    const bytes = readFileSync(await writeClip("faststart.mp4", small, 2));
    expect(bytes.indexOf("moov")).toBeLessThan(bytes.indexOf("mdat"));
  });
});

describe("pixels come back", () => {
  const size = { width: 160, height: 96, fps: 8 };
  const floors = {
    "psnr.mp4": 38,
    "psnr.webm": 36,
    "psnr.webp": 34,
    "psnr.gif": 30,
    "psnr.mkv": 200,
    "psnr-png": 200,
  };

  test.each(Object.entries(floors))("from %s at %d dB or more", async (name, floor) => {
    const file = await writeClip(name, size, 9);
    const decoded = await collect(file);
    expect(decoded.length).toBe(9);
    const worst = Math.min(...decoded.map(({ rgb }, t) => psnr(rgb, movingFrame(size, t))));
    expect(worst).toBeGreaterThanOrEqual(floor);
  });

  test.each(["patch.mp4", "patch.webm", "patch.webp"])("with their colours from %s", async (name) => {
    const patches = [
      [200, 30, 60],
      [20, 180, 40],
      [30, 60, 220],
      [255, 255, 255],
      [0, 0, 0],
      [128, 128, 128],
    ];
    for (const patch of patches) {
      const writer = await createVideoWriter(at(name), { width: 32, height: 32, fps: 8 });
      const frame = new Uint8Array(32 * 32 * 3).map((_, i) => patch[i % 3]);
      for (let i = 0; i < 3; i++) await writer.write(frame);
      await writer.finish();
      const [{ rgb }] = await collect(at(name));
      const centre = (16 * 32 + 16) * 3;
      expect([...rgb.slice(centre, centre + 3)]).toBeCloseToArray(patch, { atol: 3 });
    }
  });

  test("with times that follow the frame rate", async () => {
    for (const name of ["time.mp4", "time.webm", "time.webp"]) {
      const times = (await collect(await writeClip(name, small, 5))).map((frame) => frame.timestampSeconds);
      expect(times).toBeCloseToArray([0, 0.125, 0.25, 0.375, 0.5], { atol: 0.002 });
    }
  });
});

describe("sizes", () => {
  test.each(["mp4", "webm", "mkv", "gif", "webp"])("16x16 and one frame work in %s", async (format) => {
    const file = await writeClip(`tiny.${format}`, { width: 16, height: 16, fps: 8 }, 1);
    expect((await collect(file)).length).toBe(1);
  });

  test.each(["webm", "mkv", "gif", "webp"])("odd sizes stay as they are in %s", async (format) => {
    const size = { width: 33, height: 17, fps: 8 };
    const [frame] = await collect(await writeClip(`odd.${format}`, size, 2));
    expect(frame).toMatchObject({ width: 33, height: 17 });
    expect(psnr(frame.rgb, movingFrame(size, 0))).toBeGreaterThan(28);
  });

  test("odd sizes grow by one in MP4, repeating the edge", async () => {
    const [frame] = await collect(await writeClip("odd.mp4", { width: 33, height: 17, fps: 8 }, 2));
    expect(frame).toMatchObject({ width: 34, height: 18 });
    const last = frame.rgb.slice(33 * 3, 34 * 3);
    expect([...last]).toBeCloseToArray([...frame.rgb.slice(32 * 3, 33 * 3)], { atol: 4 });
  });
});

describe("a folder of frames", () => {
  test("holds numbered lossless PNG files", async () => {
    const file = await writeClip("frames-png", small, 3);
    expect(readdirSync(file)).toEqual(["frame_00000.png", "frame_00001.png", "frame_00002.png"]);
    expect((await readImage(path.join(file, "frame_00001.png"))).rgb).toEqual(movingFrame(small, 1));
  });

  test("is replaced as a whole by a shorter clip", async () => {
    await writeClip("again/", small, 3);
    await writeClip("again/", small, 2);
    expect(readdirSync(at("again")).length).toBe(2);
  });

  test("is left alone when it holds other files", async () => {
    mkdirSync(at("photos"));
    writeFileSync(at("photos/holiday.jpg"), "precious");
    await expect(createVideoWriter(at("photos/"), small)).rejects.toThrow(
      /holds other files \("holiday.jpg"\)/,
    );
    expect(readdirSync(at("photos"))).toEqual(["holiday.jpg"]);
  });
});

describe("what is left", () => {
  test.each(["gone.mp4", "gone.gif", "gone-png"])("after abort of %s: nothing", async (name) => {
    const before = readdirSync(folder);
    const writer = await createVideoWriter(at(name), small);
    await writer.write(movingFrame(small, 0));
    await writer.abort();
    await writer.abort();
    expect(readdirSync(folder)).toEqual(before);
    await expect(writer.write(movingFrame(small, 1))).rejects.toThrow(/abandoned/);
  });

  test.each(["keep.mp4", "keep.webp"])("of an older %s until finish: all of it", async (name) => {
    writeFileSync(at(name), "older");
    const writer = await createVideoWriter(at(name), small);
    await writer.write(movingFrame(small, 0));
    expect(readFileSync(at(name), "utf8")).toBe("older");
    await writer.finish();
    expect((await probeVideo(at(name))).width).toBe(64);
  });

  test("after a failing write: the older file and nothing else", async () => {
    writeFileSync(at("failing.mp4"), "older");
    const before = readdirSync(folder);
    const writer = await createVideoWriter(at("failing.mp4"), small);
    await writer.write(movingFrame(small, 0));
    await expect(writer.write(new Uint8Array(5))).rejects.toThrow(/has 9216 bytes, got 5/);
    await expect(writer.finish()).rejects.toThrow(/abandoned/);
    expect(readdirSync(folder)).toEqual(before);
    expect(readFileSync(at("failing.mp4"), "utf8")).toBe("older");
  });

  test("after finish without a frame: nothing", async () => {
    const before = readdirSync(folder);
    const writer = await createVideoWriter(at("empty.webm"), small);
    await expect(writer.finish()).rejects.toThrow(/no frame was written/);
    expect(readdirSync(folder)).toEqual(before);
  });

  test("is one whole clip when writes are not awaited", async () => {
    const writer = await createVideoWriter(at("eager.mkv"), small);
    const writes = Array.from({ length: 6 }, (_, t) => writer.write(movingFrame(small, t)));
    await Promise.all([...writes, writer.finish()]);
    const decoded = await collect(at("eager.mkv"));
    expect(decoded.map(({ rgb }, t) => psnr(rgb, movingFrame(small, t)))).toEqual(Array(6).fill(Infinity));
  });
});

describe("errors are sentences", () => {
  test("for an unknown extension, with the known ones", () => {
    expect(() => formatOf("clip.avi")).toThrow(ConfigError);
    expect(() => formatOf("clip.avi")).toThrow(
      /"clip.avi" .* \.mp4, \.webm, \.mkv, \.gif, \.webp.*folder of PNG/,
    );
  });

  test("for a folder that does not exist", async () => {
    await expect(createVideoWriter(at("nowhere/a.mp4"), small)).rejects.toThrow(
      /nowhere" for "a.mp4" does not exist/,
    );
  });

  test("for a folder in the place of the file", async () => {
    mkdirSync(at("taken.mp4"));
    await expect(createVideoWriter(at("taken.mp4"), small)).rejects.toThrow(/is a folder/);
  });

  test.each([
    [{ width: 0 }, /width must be/],
    [{ height: 48.5 }, /height must be/],
    [{ fps: 0 }, /fps must be/],
    [{ quality: 101 }, /quality must be/],
    [{ metadata: { "": "x" } }, /metadata tag/],
    [{ recipe: { seed: 1n } }, /recipe cannot be written as JSON/],
  ])("for %o", async (wrong: Partial<VideoWriterOptions>, message) => {
    await expect(createVideoWriter(at("wrong.mp4"), { ...small, ...wrong })).rejects.toThrow(message);
  });

  test.skipIf(!existsSync("/dev/full"))("for a full disk (skipped without /dev/full)", async () => {
    const fps = { num: 8, den: 1 };
    const writing = async () => {
      const encoder = await openEncoder("/dev/full", recordingOf("webm", 80), { ...small, fps, tags: {} });
      try {
        for (let t = 0; t < 3; t++) await encoder.write(movingFrame(small, t));
        await encoder.flush();
      } finally {
        await encoder.close();
      }
    };
    await expect(writing()).rejects.toThrow(/"\/dev\/full": the disk is full; free some space/);
  });
});

async function writeClip(name: string, options: VideoWriterOptions, frames: number): Promise<string> {
  const writer = await createVideoWriter(at(name), options);
  for (let t = 0; t < frames; t++) await writer.write(movingFrame(options, t));
  await writer.finish();
  return at(name);
}

/** A smooth pattern that moves two pixels a frame. */
function movingFrame({ width, height }: { width: number; height: number }, t: number): Uint8Array {
  const rgb = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const pixel = (y * width + x) * 3;
      rgb[pixel] = 128 + 90 * Math.sin((x + 2 * t) / 20);
      rgb[pixel + 1] = 128 + 70 * Math.cos((y + t) / 15);
      rgb[pixel + 2] = 90 + 50 * Math.sin((x + y - 2 * t) / 25);
    }
  return rgb;
}

async function collect(file: string) {
  const frames = [];
  for await (const frame of readVideo(file)) frames.push(frame);
  return frames;
}

function psnr(a: Uint8Array, b: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] - b[i]) ** 2;
  return 10 * Math.log10((255 * 255 * a.length) / sum);
}

function ffprobe(file: string): Record<string, string | number> {
  const args = ["-v", "error", "-count_frames", "-show_streams", "-of", "json", file];
  const { stdout, stderr } = spawnSync("ffprobe", args, { encoding: "utf8" });
  expect(stderr).toBe("");
  return JSON.parse(stdout).streams[0];
}
