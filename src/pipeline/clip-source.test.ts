/** @file Pictures and clips from outside at the size of the clip to make: names, bytes and frames alike. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { describe, expect, test } from "vitest";
import { temporaryFolder } from "../../test/helpers/command-line.ts";
import { toyTransformer } from "../../test/helpers/toy-transformer.ts";
import { readVideo } from "../media/read.ts";
import { parseTransformerConfig } from "../models/transformer/config.ts";
import { writeSafetensors } from "../weights/write.ts";
import { sourceImage, sourceVideo } from "./clip-source.ts";

/** Clips of 64x48 and 9 frames. */
const config = parseTransformerConfig(toyTransformer, "config.json");
const size = { width: 64, height: 48 };
const at = (name: string) => `test/fixtures/media/clips/${name}`;

/** A picture with a red upper and a blue lower half. */
async function halves(width: number, height: number, format: "png" | "avif" | "webp"): Promise<Uint8Array> {
  const blue = { create: { width, height: height / 2, channels: 3, background: "blue" } } as const;
  const red = sharp({ create: { width, height, channels: 3, background: "red" } });
  const picture = red.composite([{ input: blue, left: 0, top: height / 2 }]);
  return new Uint8Array(await picture.toFormat(format, { lossless: true }).toBuffer());
}

/** Red and blue of the pixel in a corner of the first frame. */
function corner({ pixels }: Awaited<ReturnType<typeof sourceImage>>, row: number): number[] {
  const [, , height, width] = pixels.shape;
  return [0, 2].map((channel) => (pixels.data as Float32Array)[(channel * height + row) * width]);
}

describe("a picture", () => {
  test.each(["png", "avif", "webp"] as const)(
    "from the bytes of a %s is cropped unless told otherwise",
    async (format) => {
      const source = await sourceImage("image", await halves(4, 4, format), size);
      expect(source.pixels.shape).toEqual([1, 3, 48, 64]);
      expect(source.event).toEqual({
        kind: "source",
        what: "image",
        width: 4,
        height: 4,
        frames: 1,
        fit: "crop",
      });
      expect(corner(source, 0)).toBeCloseToArray([1, -1], { atol: 0.05 });
      expect(corner(source, 47)).toBeCloseToArray([-1, 1], { atol: 0.05 });
    },
  );

  test("is shown whole on black, or pulled into shape, where that is asked for", async () => {
    const bytes = await halves(8, 2, "png");
    const padded = await sourceImage("image", bytes, size, "pad");
    expect([padded.event.fit, ...corner(padded, 0), ...corner(padded, 47)]).toEqual(["pad", -1, -1, -1, -1]);
    const stretched = await sourceImage("image", bytes, size, "stretch");
    expect([stretched.event.fit, ...corner(stretched, 0)]).toEqual(["stretch", 1, -1]);
  });

  test("of the clip's size stays as it is, and says so", async () => {
    const { event, pixels } = await sourceImage("image", await halves(64, 48, "png"), size);
    expect(event.fit).toBeNull();
    expect(new Set(pixels.data as Float32Array)).toEqual(new Set([-1, 1]));
  });
});

describe("a clip", () => {
  test.each([
    ["single.mp4", 1],
    ["uneven.mp4", 1],
    ["odd.webm", 9],
    ["odd.mp4", 9],
    ["transparent.webm", 9],
    ["deep.mkv", 9],
    ["grey.avi", 9],
    ["interlaced.mpegts", 9],
    ["turned.mp4", 9],
    ["an-mp4.webm", 9],
  ])("by the name or the bytes of %s gives %i frames", async (name, frames) => {
    const byName = await sourceVideo("video", at(name), config, {});
    const byBytes = await sourceVideo("video", new Uint8Array(readFileSync(at(name))), config, {});
    expect(byName.pixels.shape).toEqual([frames, 3, 48, 64]);
    expect(byName.event).toMatchObject({ what: "video", frames, fit: "crop" });
    expect(byBytes).toEqual(byName);
    expect(new Set(byName.pixels.data as Float32Array).size).toBeGreaterThan(50);
  });

  test("may be frames that are still being made", async () => {
    const source = await sourceVideo("video", readVideo(at("odd.mp4")), config, {});
    expect(source).toEqual(await sourceVideo("video", at("odd.mp4"), config, {}));
  });

  test("of six frames has too few for nine, and one of none for anything", async () => {
    await expect(sourceVideo("video", at("uneven.mp4"), config, { frames: 9 })).rejects.toThrow(
      "frames is 9, but the video has 6; ask for at most that many",
    );
    await expect(sourceVideo("control video", [], config, {})).rejects.toThrow(
      "the control video has no frames; give at least one",
    );
    await expect(sourceVideo("video", at("sound.mp4"), config, {})).rejects.toThrow(/holds no video stream/);
  });
});

describe("frames in a safetensors file", () => {
  const shape = [17, 48, 64, 3];
  const data = Float32Array.from({ length: 17 * 48 * 64 * 3 }, (_, i) => (i % 1000) / 999);
  const written = async (name: string, frames: { shape: number[]; data: Float32Array }) => {
    const file = join(temporaryFolder(), "frames.safetensors");
    await writeSafetensors(file, { [name]: { dtype: "F32", ...frames } });
    return file;
  };

  test("are taken as they are: the first of them as a picture, as many as fit as a clip", async () => {
    const file = await written("frames", { shape, data });
    const picture = await sourceImage("image", file, size);
    const clip = await sourceVideo("video", file, config, {});
    expect(picture.pixels.shape).toEqual([1, 3, 48, 64]);
    expect(clip.pixels.shape).toEqual([9, 3, 48, 64]);
    expect(clip.event).toEqual({
      kind: "source",
      what: "video",
      width: 64,
      height: 48,
      frames: 9,
      fit: null,
    });
    const frame = 3 * 48 * 64;
    const [third, blue] = [clip.pixels.data.subarray(2 * frame), 2 * 48 * 64 + 5];
    expect(third[blue]).toBe(Math.fround(2 * data[2 * frame + 5 * 3 + 2] - 1));
    expect(clip.pixels.data.subarray(0, frame)).toEqual(picture.pixels.data);
  });

  test("are refused where they have another size, another name, another layout, or another range", async () => {
    const read = async (name: string, frames: { shape: number[]; data: Float32Array }) =>
      sourceImage("image", await written(name, frames), size);
    await expect(read("frames", { shape: [17, 64, 48, 3], data })).rejects.toThrow(
      /are 48x64, and the clip is 64x48; .*make the clip 48x64/,
    );
    await expect(read("sample", { shape, data })).rejects.toThrow(/no tensor named frames, but sample/);
    await expect(read("frames", { shape: [17, 3, 48, 64], data })).rejects.toThrow(
      /must be \[T, H, W, 3\], got \[17, 3, 48, 64\]/,
    );
    const signed = data.map((x) => 2 * x - 1);
    await expect(read("frames", { shape, data: signed })).rejects.toThrow(/must lie in 0 to 1, got -1/);
  });
});
