/** @file Tests of buckets and of the order of batches. */
import { describe, expect, test } from "vitest";
import { ConfigError } from "../../errors.ts";
import { BatchOrder, type ClipBatch } from "./batches.ts";
import { type Bucket, bucketFor } from "./buckets.ts";

const wide: Bucket = { frames: 49, height: 480, width: 720 };
const tall: Bucket = { frames: 49, height: 720, width: 480 };
const short: Bucket = { frames: 17, height: 480, width: 720 };

describe("the bucket of a video", () => {
  const buckets = [short, wide, tall, { frames: 49, height: 960, width: 1440 }];
  const choose = (frames: number, width: number, height: number) =>
    bucketFor({ frames, width, height }, buckets);

  test("has the most frames that the video has, then its aspect ratio, then the larger picture", () => {
    expect(choose(60, 1080, 1920)).toEqual(tall);
    expect(choose(48, 1080, 1920)).toEqual(short);
    expect(choose(49, 1920, 1080)).toEqual({ frames: 49, height: 960, width: 1440 });
  });

  test("for a video that is too short is its own, the shortest with padding, or none", () => {
    const shape = { frames: 14, width: 720, height: 480 };
    expect(bucketFor(shape, buckets)).toEqual({ frames: 9, height: 480, width: 720 });
    expect(bucketFor(shape, buckets, { lengthStep: 4 })).toEqual({ frames: 13, height: 480, width: 720 });
    expect(bucketFor(shape, buckets, { short: "pad" })).toEqual(short);
    expect(bucketFor(shape, buckets, { short: "drop" })).toBeNull();
  });

  test("must be a size", () => {
    const shape = { frames: 14, width: 720, height: 480 };
    expect(() => bucketFor(shape, [])).toThrow(ConfigError);
    expect(() => bucketFor(shape, [{ frames: 9, height: 0, width: 8 }])).toThrow(/got 9x0x8/);
  });
});

describe("batches", () => {
  // 10 wide, 7 tall, 1 short, 1 left out.
  const buckets = [...Array(10).fill(wide), ...Array(7).fill(tall), short, null] as (Bucket | null)[];
  const clips = [...Array(18).keys()];
  const order = (leftovers: "emit" | "merge" | "fill", seed = 1) =>
    new BatchOrder(buckets, { seed, batchSize: 4, leftovers });
  const epochOf = (batches: BatchOrder, epoch: number): ClipBatch[] => {
    const length = batches.batchesIn(epoch);
    return Array.from({ length }, (_, i) => batches.batchAt(epoch * length + i));
  };
  const sizes = (batches: readonly ClipBatch[]) => batches.map(({ indices }) => indices.length).sort();
  const drawn = (batches: readonly ClipBatch[]) =>
    batches.flatMap(({ indices }) => [...indices]).sort((a, b) => a - b);

  test("hold clips of one bucket, and every clip once in an epoch", () => {
    for (const leftovers of ["emit", "merge"] as const)
      for (const epoch of [0, 1, 2]) {
        const batches = epochOf(order(leftovers), epoch);
        expect(drawn(batches)).toEqual(clips);
        for (const batch of batches) {
          expect(batch.epoch).toBe(epoch);
          for (const index of batch.indices) expect(buckets[index]).toEqual(batch.bucket);
        }
      }
  });

  test("keep leftovers as a smaller batch, in a larger one, or in one that is filled up", () => {
    expect(sizes(epochOf(order("emit"), 0))).toEqual([1, 2, 3, 4, 4, 4]);
    expect(sizes(epochOf(order("merge"), 0))).toEqual([1, 4, 6, 7]);
    const filled = epochOf(order("fill"), 0);
    expect(sizes(filled)).toEqual([4, 4, 4, 4, 4, 4]);
    expect([...new Set(drawn(filled))]).toEqual(clips);
  });

  test("come in the same order whatever was asked before, and from any place on", () => {
    const first = order("emit");
    const all = Array.from({ length: 30 }, (_, i) => first.batchAt(i));
    const resumed = order("emit");
    for (const number of [29, 3, 17, 18, 0]) expect(resumed.batchAt(number)).toEqual(all[number]);
  });

  test("are shuffled anew in every epoch and for every seed", () => {
    const batches = order("emit");
    const plain = (epoch: number, from = batches) => epochOf(from, epoch).map(({ indices }) => indices);
    expect(plain(1)).not.toEqual(plain(0));
    expect(plain(0, order("emit", 2))).not.toEqual(plain(0));
  });

  test("draw clips as often as their weights say, the sums never far off", () => {
    const weights = buckets.map((_, index) => [0.25, 1, 2.5][index % 3]);
    const batches = new BatchOrder(buckets, { seed: 3, batchSize: 4, weights });
    const counts = new Map<number, number>();
    let [number, epoch] = [0, 0];
    for (; epoch < 8; number++) {
      const batch = batches.batchAt(number);
      epoch = batch.epoch;
      if (epoch < 8) for (const index of batch.indices) counts.set(index, (counts.get(index) ?? 0) + 1);
    }
    for (const clip of clips)
      expect(Math.abs((counts.get(clip) ?? 0) - 8 * weights[clip])).toBeLessThanOrEqual(1);
    const resumed = new BatchOrder(buckets, { seed: 3, batchSize: 4, weights });
    expect(resumed.batchAt(number - 1)).toEqual(batches.batchAt(number - 1));
  });

  test("may have a size for each bucket", () => {
    const batches = new BatchOrder(buckets, { seed: 1, batchSize: ({ frames }) => (frames === 49 ? 1 : 8) });
    expect(sizes(epochOf(batches, 0))).toEqual(Array(18).fill(1));
  });

  test("need clips, sizes, weights and numbers that make sense", () => {
    expect(() => new BatchOrder([null], { seed: 1, batchSize: 1 })).toThrow(/nothing to train on/);
    expect(() => new BatchOrder([wide], { seed: 1, batchSize: 1, weights: [0] })).toThrow(/weight above 0/);
    expect(() => new BatchOrder([wide], { seed: 1, batchSize: 0 }).batchAt(0)).toThrow(/49x480x720/);
    expect(() => order("emit").batchAt(-1)).toThrow(/numbered from 0/);
  });
});
