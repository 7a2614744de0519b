/** @file Tests of choosing frames by time, on timestamps of every kind of video. */
import { describe, expect, test } from "vitest";
import { ConfigError } from "../../errors.ts";
import { framesAt, type SamplingOptions, sampleFrames } from "./sampling.ts";

/** Timestamps of `count` frames at a steady rate, rounded to ticks of the container. */
function steady(count: number, num: number, den = 1, ticksPerSecond = 90_000): Float64Array {
  return Float64Array.from(
    { length: count },
    (_, i) => Math.round((i * den * ticksPerSecond) / num) / ticksPerSecond,
  );
}

/** The frame shown nearest to a time, by looking at all of them. */
function nearestOf(times: Float64Array, time: number): number {
  const distances = Array.from(times, (t) => Math.abs(t - time));
  const least = Math.min(...distances);
  return distances.findIndex((distance) => distance <= least + 1e-6);
}

const at8: SamplingOptions = { frames: 49, fps: 8 };

describe("a clip keeps its pace", () => {
  test.each([
    ["23.976", 24_000, 1001],
    ["24", 24, 1],
    ["25", 25, 1],
    ["29.97", 30_000, 1001],
    ["30", 30, 1],
    ["60", 60, 1],
    ["59.94", 60_000, 1001],
  ])("from %s frames per second: the k-th frame is the one nearest to k / 8", (_, num, den) => {
    const times = steady(Math.ceil((6.2 * num) / den), num, den);
    const { indices, valid, times: wanted, fps } = sampleFrames(times, at8);
    expect(indices).toHaveLength(49);
    for (const [k, index] of indices.entries()) {
      expect(wanted[k]).toBe(k / 8);
      expect(index).toBe(nearestOf(times, k / 8));
      expect(Math.abs(times[index] - k / 8)).toBeLessThanOrEqual(den / num / 2 + 1e-5);
    }
    expect(valid.every((flag) => flag === 1)).toBe(true);
    expect(fps).toBe(8);
  });

  test("from 8, 16 and 24 frames per second exactly", () => {
    for (const rate of [8, 16, 24]) {
      const { indices } = sampleFrames(steady(150, rate), { frames: 5, fps: 8 });
      expect([...indices]).toEqual([0, 1, 2, 3, 4].map((k) => (k * rate) / 8));
    }
  });

  test("at a broadcast rate itself", () => {
    const times = steady(50, 24_000, 1001);
    expect([...sampleFrames(times, { frames: 49, fps: 23.976 }).indices]).toEqual([...Array(49).keys()]);
  });

  test("from frames at changing rates", () => {
    // One second at 30, one at 10, one at 60 frames per second.
    const times = Float64Array.of(
      ...Array.from({ length: 30 }, (_, i) => i / 30),
      ...Array.from({ length: 10 }, (_, i) => 1 + i / 10),
      ...Array.from({ length: 60 }, (_, i) => 2 + i / 60),
    );
    const { indices } = sampleFrames(times, { frames: 17, fps: 8 });
    expect([...indices]).toEqual(Array.from({ length: 17 }, (_, k) => nearestOf(times, k / 8)));
    expect(framesAt(times, 8)).toBe(24);
  });

  test("from a source slower than the clip, which repeats its frames", () => {
    const { indices } = sampleFrames(steady(10, 4), { frames: 9, fps: 8 });
    expect([...indices]).toEqual([0, 0, 1, 1, 2, 2, 3, 3, 4]);
  });
});

describe("a video that is too short", () => {
  const times = steady(40, 8);

  test("gives the most frames of the form 8 k + 1 or 4 k + 1", () => {
    expect(sampleFrames(times, at8).indices).toHaveLength(33);
    expect(sampleFrames(times, { ...at8, lengthStep: 4 }).indices).toHaveLength(37);
    expect(sampleFrames(times, { ...at8, lengthStep: 1 }).indices).toHaveLength(40);
    expect([...sampleFrames(Float64Array.of(0), at8).indices]).toEqual([0]);
  });

  test("is filled up with its last frame only when asked, and says so in the mask", () => {
    const { indices, valid } = sampleFrames(times, { ...at8, pad: true });
    expect(indices).toHaveLength(49);
    expect([...indices.slice(38)]).toEqual([38, ...Array(10).fill(39)]);
    expect([...valid]).toEqual([...Array(40).fill(1), ...Array(9).fill(0)]);
  });

  test("is not too short when only its last half interval is missing", () => {
    // The 49th frame is wanted at 6 s. At 30 frames per second the last of 180 frames stands at 5.967 s.
    expect(framesAt(steady(180, 30), 8)).toBe(48);
    expect(framesAt(steady(181, 30), 8)).toBe(49);
    expect(framesAt(steady(145, 24_000, 1001), 8)).toBe(49);
  });
});

describe("windows", () => {
  const times = steady(300, 30);

  test("at random begin at a frame, leave room for the clip, and depend on seed, epoch and index only", () => {
    const options = { frames: 9, fps: 8, window: "random" } as const;
    const start = (seed: number, epoch: number, index: number) =>
      sampleFrames(times, options, { seed, epoch, index }).indices[0];
    const starts = Array.from({ length: 400 }, (_, index) => start(1, 0, index));
    expect(new Set(starts).size).toBeGreaterThan(150);
    expect(Math.min(...starts)).toBeLessThan(10);
    expect(Math.max(...starts)).toBeGreaterThan(260);
    expect(Math.max(...starts)).toBeLessThanOrEqual(269);
    expect(start(1, 0, 7)).toBe(start(1, 0, 7));
    const others = [start(2, 0, 7), start(1, 1, 7), start(1, 0, 8)];
    expect(others.filter((other) => other === start(1, 0, 7)).length).toBeLessThan(2);
    const { indices } = sampleFrames(times, options, { seed: 1, epoch: 0, index: 3 });
    for (const [k, index] of indices.entries())
      expect(index).toBe(nearestOf(times, times[indices[0]] + k / 8));
  });

  test("spread over all of the video say how fast it now plays", () => {
    const { indices, fps } = sampleFrames(times, { frames: 14, fps: 8, window: "uniform" });
    expect([indices[0], indices[13]]).toEqual([0, 299]);
    expect(fps).toBeCloseTo((13 * 30) / 299, 10);
    expect(sampleFrames(steady(20, 30), { frames: 49, fps: 8, window: "uniform" }).indices).toHaveLength(17);
  });

  test("need sensible options", () => {
    expect(() => sampleFrames(times, { frames: 9, fps: 8, window: "random" })).toThrow(
      /seed, epoch and index/,
    );
    expect(() => sampleFrames(times, { frames: 0, fps: 8 })).toThrow(/frames must be/);
    expect(() => sampleFrames(times, { frames: 9, fps: 0 })).toThrow(ConfigError);
    expect(() => sampleFrames(new Float64Array(0), at8)).toThrow(/without frames/);
  });
});
