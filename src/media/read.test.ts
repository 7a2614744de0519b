/** @file Tests of reading: images of every kind, folders, rotated and broken videos. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import sharp from "sharp";
import { afterAll, describe, expect, test } from "vitest";
import { ConfigError } from "../errors.ts";
import { probeVideo, readImage, readVideo } from "./read.ts";
import { createVideoWriter } from "./write.ts";

const folder = mkdtempSync(path.join(tmpdir(), "media-read-"));
afterAll(() => rmSync(folder, { recursive: true }));
const at = (name: string) => path.join(folder, name);
const hasFfmpeg = spawnSync("ffmpeg", ["-version"]).status === 0;

/** Two pixels, red left and blue right. */
const redBlue = { create: { width: 2, height: 1, channels: 3, background: "red" } } as const;
const bluePixel = {
  input: { create: { width: 1, height: 1, channels: 3, background: "blue" } },
  left: 1,
  top: 0,
} as const;

describe("readImage", () => {
  test("reads a file and its bytes alike", async () => {
    const png = await sharp(redBlue).composite([bluePixel]).png().toBuffer();
    writeFileSync(at("two.png"), png);
    const expected = { width: 2, height: 1, rgb: Uint8Array.of(255, 0, 0, 0, 0, 255) };
    expect(await readImage(at("two.png"))).toEqual(expected);
    expect(await readImage(new Uint8Array(png))).toEqual(expected);
  });

  test("turns the picture upright", async () => {
    const png = await sharp(redBlue).composite([bluePixel]).withMetadata({ orientation: 6 }).png().toBuffer();
    expect(await readImage(png)).toEqual({ width: 1, height: 2, rgb: Uint8Array.of(255, 0, 0, 0, 0, 255) });
  });

  test("lays transparency on black", async () => {
    const background = { r: 200, g: 100, b: 50, alpha: 0.5 };
    const png = await sharp({ create: { width: 1, height: 1, channels: 4, background } })
      .png()
      .toBuffer();
    expect([...(await readImage(png)).rgb]).toBeCloseToArray([100, 50, 25], { atol: 1 });
  });

  test("makes 16-bit, grey and CMYK pictures 8-bit RGB", async () => {
    const deep = await sharp(redBlue).toColourspace("rgb16").png().toBuffer();
    expect((await sharp(deep).metadata()).depth).toBe("ushort");
    expect([...(await readImage(deep)).rgb.slice(0, 3)]).toEqual([255, 0, 0]);
    const grey = await sharp({ create: { width: 1, height: 1, channels: 3, background: "#808080" } })
      .toColourspace("b-w")
      .png()
      .toBuffer();
    expect([...(await readImage(grey)).rgb]).toEqual([128, 128, 128]);
    const cmyk = await sharp(redBlue).toColourspace("cmyk").tiff().toBuffer();
    expect((await sharp(cmyk).metadata()).space).toBe("cmyk");
    const { rgb } = await readImage(cmyk);
    expect(rgb.length).toBe(6);
    expect(rgb[0]).toBeGreaterThan(200);
    expect(rgb[2]).toBeLessThan(60);
  });

  test.each(["text.png", "cut.png"])("says that %s is damaged or no image", async (name) => {
    const noise = await sharp({
      create: {
        width: 64,
        height: 64,
        channels: 3,
        background: "red",
        noise: { type: "gaussian", mean: 90, sigma: 40 },
      },
    })
      .png()
      .toBuffer();
    writeFileSync(at(name), name === "cut.png" ? noise.subarray(0, noise.length / 2) : "no image");
    await expect(readImage(at(name))).rejects.toThrow(ConfigError);
    await expect(readImage(at(name))).rejects.toThrow(new RegExp(`cannot read ".*${name}": it is damaged`));
  });

  test("sees a file that was replaced under its name", async () => {
    for (const level of [10, 20]) {
      const background = { r: level, g: level, b: level };
      await sharp({ create: { width: 1, height: 1, channels: 3, background } }).toFile(at("replaced.png"));
      expect([...(await readImage(at("replaced.png"))).rgb]).toEqual([level, level, level]);
    }
  });

  test("says that a file is missing", async () => {
    await expect(readImage(at("missing.png"))).rejects.toThrow(/no file or folder ".*missing.png"/);
  });
});

describe("a folder of frames", () => {
  test("is read in natural order with times from the given rate", async () => {
    mkdirSync(at("natural"));
    for (const [name, red] of [
      ["f10.png", 30],
      ["f2.png", 20],
      ["f1.jpg", 10],
      [".hidden.png", 1],
    ] as const) {
      const background = { r: red, g: red, b: red };
      await sharp({ create: { width: 8, height: 8, channels: 3, background } }).toFile(at(`natural/${name}`));
    }
    const frames = await collect(at("natural"), { folderFps: 4 });
    expect(frames.map(({ rgb, timestampSeconds }) => [rgb[0], timestampSeconds])).toEqual([
      [10, 0],
      [20, 0.25],
      [30, 0.5],
    ]);
    expect(await probeVideo(at("natural"))).toMatchObject({ width: 8, height: 8, frames: 3, fps: 8 });
  });

  test("of two sizes is refused with both", async () => {
    mkdirSync(at("mixed"));
    for (const width of [8, 9])
      await sharp({ create: { width, height: 8, channels: 3, background: "red" } }).toFile(
        at(`mixed/${width}.png`),
      );
    await expect(collect(at("mixed"))).rejects.toThrow(/is 9x8, but the first frame .* is 8x8/);
  });

  test("without images is refused", async () => {
    mkdirSync(at("bare"));
    await expect(collect(at("bare"))).rejects.toThrow(/holds no images/);
  });
});

describe("readVideo", () => {
  test("does not take a text for a video", async () => {
    writeFileSync(at("prompts.txt"), "a red circle moves right\n".repeat(40));
    await expect(probeVideo(at("prompts.txt"))).rejects.toThrow(/prompts\.txt": it holds text/);
    await expect(readVideo(at("prompts.txt")).next()).rejects.toThrow(ConfigError);
  });

  test("probes what was written", async () => {
    const file = await writeClip("probe.mp4", 5);
    expect(await probeVideo(file)).toMatchObject({ width: 64, height: 32, fps: 8, frames: 5, codec: "h264" });
    expect((await probeVideo(file)).durationSeconds).toBeCloseTo(0.625, 3);
    expect(await probeVideo(await writeClip("probe.webm", 5))).toMatchObject({
      frames: 5,
      codec: "vp9",
      fps: 8,
    });
  });

  test("stops early without leaving the file open or failing", async () => {
    const file = await writeClip("early.mp4", 5);
    for await (const { width } of readVideo(file)) {
      expect(width).toBe(64);
      break;
    }
    expect((await collect(file)).length).toBe(5);
  });

  test.skipIf(!hasFfmpeg)("turns a clip upright (skipped without ffmpeg, which marks it so)", async () => {
    const turned = at("turned.mp4");
    ffmpeg(`-i ${await writeClip("flat.mp4", 2)} -c copy -metadata:s:v:0 rotate=90 ${turned}`);
    const frames = await collect(turned);
    expect([frames[0].width, frames[0].height]).toEqual([32, 64]);
    expect(joined(frames).equals(ffmpeg(`-i ${turned} -f rawvideo -pix_fmt rgb24 -`))).toBe(true);
    expect(await probeVideo(turned)).toMatchObject({ width: 32, height: 64 });
  });

  test.skipIf(!hasFfmpeg)("agrees with the ffmpeg command byte for byte (skipped without it)", async () => {
    for (const name of ["agree.mp4", "agree.webm"]) {
      const file = await writeClip(name, 4);
      expect(joined(await collect(file)).equals(ffmpeg(`-i ${file} -f rawvideo -pix_fmt rgb24 -`))).toBe(
        true,
      );
    }
  });

  test.each(["mp4", "webm", "mkv", "gif", "webp"])(
    "says in a sentence that a .%s of garbage is no video",
    async (format) => {
      writeFileSync(at(`garbage.${format}`), "nonsense ".repeat(500));
      await expect(collect(at(`garbage.${format}`))).rejects.toThrow(/cannot read ".*garbage/);
      await expect(probeVideo(at(`garbage.${format}`))).rejects.toThrow(ConfigError);
    },
  );

  test("says that an MP4 is cut short", async () => {
    const whole = readFileSync(await writeClip("whole.mp4", 16));
    writeFileSync(at("short.mp4"), whole.subarray(0, whole.length * 0.7));
    await expect(collect(at("short.mp4"))).rejects.toThrow(
      /cannot read ".*short.mp4": .*(cut short|damaged)/,
    );
  });

  test("says that a file is missing or empty", async () => {
    await expect(collect(at("missing.mp4"))).rejects.toThrow(/no file or folder/);
    writeFileSync(at("empty.mp4"), "");
    await expect(collect(at("empty.mp4"))).rejects.toThrow(ConfigError);
  });
});

function ffmpeg(args: string): Buffer {
  const { stdout, stderr } = spawnSync("ffmpeg", ["-v", "error", ...args.split(" ")]);
  expect(stderr.toString()).toBe("");
  return stdout;
}

const joined = (frames: { rgb: Uint8Array }[]) => Buffer.concat(frames.map(({ rgb }) => rgb));

async function collect(file: string, options = {}) {
  const frames = [];
  for await (const frame of readVideo(file, options)) frames.push(frame);
  return frames;
}

async function writeClip(name: string, frames: number): Promise<string> {
  const writer = await createVideoWriter(at(name), { width: 64, height: 32, fps: 8 });
  for (let t = 0; t < frames; t++) {
    const rgb = new Uint8Array(64 * 32 * 3).map((_, i) => 128 + 90 * Math.sin((i + 60 * t) / 150 + (i % 3)));
    await writer.write(rgb);
  }
  await writer.finish();
  return at(name);
}
