/** @file Clips as cameras, phones and other programs leave them; test/fixtures/media/make_clips.sh has made them. */
import { describe, expect, test } from "vitest";
import { decodedTimestamps, probeVideo, readTimestamps, readVideo } from "./read.ts";

const at = (name: string) => `test/fixtures/media/clips/${name}`;

describe("is read frame by frame, at its size:", () => {
  test.each([
    ["one of a single frame", "single.mp4", 48, 32, 1],
    ["one of an uneven rate", "uneven.mp4", 48, 32, 6],
    ["odd sizes of halved chroma", "odd.webm", 33, 25, 9],
    ["odd sizes of full chroma", "odd.mp4", 35, 27, 9],
    ["one that can be seen through", "transparent.webm", 48, 32, 9],
    ["10 bits a channel", "deep.mkv", 48, 32, 9],
    ["full range in motion JPEG, and grey", "grey.avi", 48, 32, 9],
    ["interlaced frames in a transport stream", "interlaced.mpegts", 48, 32, 9],
    ["one that was filmed lying down", "turned.mp4", 32, 48, 9],
    ["one with another format's extension", "an-mp4.webm", 48, 32, 9],
  ])("%s (%s)", async (_, name, width, height, count) => {
    const sizes = new Set<string>();
    let frames = 0;
    let spread = 0;
    for await (const frame of readVideo(at(name))) {
      sizes.add(`${frame.width}x${frame.height}, ${frame.rgb.length}`);
      spread = Math.max(spread, Math.max(...frame.rgb) - Math.min(...frame.rgb));
      frames++;
    }
    expect([...sizes]).toEqual([`${width}x${height}, ${width * height * 3}`]);
    expect(frames).toBe(count);
    expect(spread).toBeGreaterThan(150); // the test picture, not a flat one
    expect(await probeVideo(at(name))).toMatchObject({ width, height });
  });
});

test("an uneven rate shows in the times of the frames", async () => {
  const times = [0, 1, 2, 10, 11, 23].map((frame) => frame / 24);
  expect(await readTimestamps(at("uneven.mp4"))).toBeCloseToArray(times, { atol: 1e-3 });
  expect(await decodedTimestamps(at("uneven.mp4"))).toBeCloseToArray(times, { atol: 1e-3 });
});

test("sound alone is no clip", async () => {
  const reading = async () => {
    for await (const _ of readVideo(at("sound.mp4")));
  };
  await expect(reading()).rejects.toThrow(/cannot read ".*sound.mp4": it holds no video stream/);
  await expect(probeVideo(at("sound.mp4"))).rejects.toThrow(/it holds no video stream/);
});
