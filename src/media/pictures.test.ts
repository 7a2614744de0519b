/** @file Tests of pictures and clips in every form that people have them. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import sharp from "sharp";
import { afterAll, describe, expect, test } from "vitest";
import { ConfigError } from "../errors.ts";
import { fitImage } from "./fit.ts";
import type { RgbImage } from "./frames.ts";
import { type ClipSource, readClip, readPicture } from "./pictures.ts";
import { createVideoWriter } from "./write.ts";

const folder = mkdtempSync(path.join(tmpdir(), "media-pictures-"));
afterAll(() => rmSync(folder, { recursive: true }));
const at = (name: string) => path.join(folder, name);

/** A canvas of one colour. */
const canvas = (width: number, height: number, background = "#ff0000") =>
  sharp({ create: { width, height, channels: 3, background } });

const encoders: { readonly [name: string]: () => Promise<Buffer> } = {
  png: () => canvas(40, 30).png().toBuffer(),
  jpeg: () => canvas(40, 30).jpeg({ quality: 100, chromaSubsampling: "4:4:4" }).toBuffer(),
  "progressive jpeg": () => canvas(40, 30).jpeg({ progressive: true, quality: 100 }).toBuffer(),
  webp: () => canvas(40, 30).webp({ lossless: true }).toBuffer(),
  avif: () => canvas(40, 30).avif({ lossless: true }).toBuffer(),
  gif: () => canvas(40, 30).gif().toBuffer(),
  tiff: () => canvas(40, 30).tiff().toBuffer(),
  "16-bit png": () => canvas(40, 30).toColourspace("rgb16").png().toBuffer(),
  "palette png": () => canvas(40, 30).png({ palette: true, colours: 2 }).toBuffer(),
  "png with opaque alpha": () => canvas(40, 30).ensureAlpha().png().toBuffer(),
};

describe("readPicture", () => {
  test.each(Object.entries(encoders))("reads the bytes of a %s", async (_, encode) => {
    const { rgb, width, height } = await readPicture(new Uint8Array(await encode()));
    expect([width, height]).toEqual([40, 30]);
    expect([...rgb.subarray(0, 3)]).toBeCloseToArray([255, 0, 0], { atol: 2 });
  });

  test("turns 16 bits, grey, CMYK and transparency into the colours they show", async () => {
    const half = sharp({
      create: { width: 9, height: 9, channels: 4, background: { r: 0, g: 200, b: 0, alpha: 0 } },
    });
    const clear = await readPicture(await half.png().toBuffer());
    expect([...clear.rgb.subarray(0, 3)]).toEqual([0, 0, 0]);
    const grey = await readPicture(await canvas(9, 9, "#646464").toColourspace("b-w").jpeg().toBuffer());
    expect(grey.rgb.length).toBe(9 * 9 * 3);
    expect([...grey.rgb.subarray(0, 3)]).toBeCloseToArray([100, 100, 100], { atol: 2 });
    const cmyk = await canvas(9, 9).toColourspace("cmyk").jpeg().toBuffer();
    expect((await sharp(cmyk).metadata()).space).toBe("cmyk");
    const { rgb } = await readPicture(cmyk);
    expect(rgb[0]).toBeGreaterThan(200);
    expect(rgb[1]).toBeLessThan(60);
  });

  test("turns a rotated photograph upright before its size is looked at", async () => {
    const photo = await canvas(20, 10).withMetadata({ orientation: 6 }).jpeg().toBuffer();
    expect(await readPicture(photo)).toMatchObject({ width: 10, height: 20 });
  });

  test("does not mind a wrong extension", async () => {
    writeFileSync(at("photo.jpg"), await encoders.png());
    expect(await readPicture(at("photo.jpg"))).toMatchObject({ width: 40, height: 30 });
    writeFileSync(at("photo.txt"), await encoders.webp());
    expect(await readPicture(at("photo.txt"))).toMatchObject({ width: 40, height: 30 });
  });

  test("takes pixels as they are, and says how many there should be", async () => {
    const pixels = { rgb: new Uint8Array(12), width: 2, height: 2 };
    expect(await readPicture(pixels)).toBe(pixels);
    await expect(readPicture({ ...pixels, width: 3 })).rejects.toThrow(
      /3x2 pixels must have 18 bytes of RGB, got 12/,
    );
    await expect(readPicture({ rgb: new Uint8Array(0), width: 0, height: 0 })).rejects.toThrow(ConfigError);
  });

  test("says that nothing, garbage, half a file and a video are no pictures", async () => {
    const png = await encoders.png();
    writeFileSync(at("empty.png"), "");
    writeFileSync(at("garbage.png"), "nonsense ".repeat(100));
    writeFileSync(at("half.png"), png.subarray(0, png.length - 20));
    await writeClip("clip.mp4", 3);
    for (const name of ["empty.png", "garbage.png", "half.png", "clip.mp4"])
      await expect(readPicture(at(name)), name).rejects.toThrow(
        /^cannot read ".*": it is damaged or not a supported/,
      );
    await expect(readPicture(new Uint8Array(0))).rejects.toThrow(/the image of 0 bytes/);
    await expect(readPicture(at("nowhere.png"))).rejects.toThrow(/no file or folder/);
    await expect(readPicture(folder)).rejects.toThrow(/is a folder/);
  });

  test.each([
    [1, 1],
    [3, 7],
    [7, 3],
    [1, 900],
    [641, 479],
  ])("brings %ix%i to the size of a clip", async (width, height) => {
    const picture = await readPicture(await canvas(width, height).png().toBuffer());
    for (const fit of ["crop", "stretch"] as const) {
      const { rgb } = fitImage(picture, { width: 64, height: 48 }, fit);
      expect([rgb.length, rgb[0], rgb[1], rgb.at(-3)]).toEqual([64 * 48 * 3, 255, 0, 255]);
    }
  });
});

describe("readClip", () => {
  test.each(["mp4", "webm", "gif", "webp"])("reads a .%s by name and by its bytes", async (format) => {
    const file = await writeClip(`clip.${format}`, 4);
    const byName = await collect(file);
    const byBytes = await collect(new Uint8Array(readFileSync(file)));
    expect(byName).toHaveLength(4);
    expect(byName[0]).toMatchObject({ width: 64, height: 32 });
    expect(byBytes.map(({ rgb }) => rgb)).toEqual(byName.map(({ rgb }) => rgb));
  });

  test("takes a picture for a clip of one frame", async () => {
    writeFileSync(at("still.png"), await encoders.png());
    expect(await collect(at("still.png"))).toHaveLength(1);
    expect(await collect(await writeClip("one.mp4", 1))).toHaveLength(1);
  });

  test("reads a folder of frames and pictures in memory", async () => {
    mkdirSync(at("frames"));
    const colours = ["#0a0000", "#140000", "#1e0000"];
    for (const [i, colour] of colours.entries()) await canvas(8, 8, colour).toFile(at(`frames/${i + 9}.png`));
    expect((await collect(at("frames"))).map(({ rgb }) => rgb[0])).toEqual([10, 20, 30]);
    const names = [at("frames/10.png"), new Uint8Array(readFileSync(at("frames/9.png")))];
    expect((await collect(names)).map(({ rgb }) => rgb[0])).toEqual([20, 10]);
  });

  test("gives as many frames as are asked for and no more trouble", async () => {
    const bytes = new Uint8Array(readFileSync(await writeClip("long.mp4", 12)));
    let count = 0;
    for await (const _ of readClip(bytes)) if (++count === 5) break;
    expect(count).toBe(5);
  });

  test("says that nothing and garbage are no clips", async () => {
    await expect(collect(new Uint8Array(0))).rejects.toThrow(ConfigError);
    await expect(collect(new TextEncoder().encode("nonsense ".repeat(100)))).rejects.toThrow(ConfigError);
    writeFileSync(at("zero.mp4"), "");
    await expect(collect(at("zero.mp4"))).rejects.toThrow(/cannot read ".*zero.mp4"/);
    expect(await collect([])).toEqual([]);
  });
});

async function collect(source: ClipSource): Promise<RgbImage[]> {
  const frames: RgbImage[] = [];
  for await (const frame of readClip(source)) frames.push(frame);
  return frames;
}

async function writeClip(name: string, frames: number): Promise<string> {
  const writer = await createVideoWriter(at(name), { width: 64, height: 32, fps: 8 });
  for (let t = 0; t < frames; t++)
    await writer.write(new Uint8Array(64 * 32 * 3).map((_, i) => 128 + 90 * Math.sin((i + 60 * t) / 150)));
  await writer.finish();
  return at(name);
}
