/** @file The order in which clips are trained on: a pure function of the seed, so that a run goes on anywhere. */
import { ConfigError } from "../../errors.ts";
import { randomSource } from "../shapes/random.ts";
import { type Bucket, bucketName } from "./buckets.ts";

/**
 * What becomes of the clips of a bucket that do not fill a batch: a smaller batch of their own; a larger one, together
 * with the batch before; or a whole one, filled up with other clips of the bucket.
 */
export const leftovers = ["emit", "merge", "fill"] as const;
/** One of `leftovers`. */
export type Leftovers = (typeof leftovers)[number];

/** Clips of one bucket that go through the model together. */
export type ClipBatch = {
  /** Passes over the data before this one. */
  readonly epoch: number;
  readonly bucket: Bucket;
  /** Numbers of the clips in the list that the buckets were given for. */
  readonly indices: readonly number[];
};

/** How clips become batches. */
export type BatchOptions = {
  readonly seed: number;
  /** Clips in a batch, for every bucket alike or each. */
  readonly batchSize: number | ((bucket: Bucket) => number);
  readonly leftovers?: Leftovers;
  /** How often each clip is drawn in an epoch on average, default once. */
  readonly weights?: readonly number[];
};

/** Tell the draws of this file from each other and from others with the same numbers. */
const [CLIP_DRAW, BATCH_DRAW, WEIGHT_DRAW] = [0x636c69, 0x626174, 0x776569];

/** Batches without end: epoch after epoch, in each every clip (see `BatchOptions.weights`), shuffled anew. */
export class BatchOrder {
  private readonly buckets: readonly (Bucket | null)[];
  private readonly options: BatchOptions;
  /** Number of batches before each epoch that was looked at, and before the one after it. */
  private readonly begins = [0];
  private last: { readonly epoch: number; readonly batches: readonly ClipBatch[] } | null = null;

  /**
   * @param buckets the bucket of every clip; null for clips that are left out
   * @throws ConfigError where no clip has a bucket, and for weights that are not above 0
   */
  constructor(buckets: readonly (Bucket | null)[], options: BatchOptions) {
    const { weights } = options;
    if (!buckets.some((bucket) => bucket !== null))
      throw new ConfigError(
        "no clip has a bucket, so there is nothing to train on; add clips or shorter buckets",
      );
    if (weights && (weights.length !== buckets.length || !weights.every((w) => w > 0 && Number.isFinite(w))))
      throw new ConfigError(`give a weight above 0 for each of the ${buckets.length} clips`);
    this.buckets = buckets;
    this.options = options;
  }

  /** The batch with this number, counted from 0 over all epochs. What is asked before does not change it. */
  batchAt(number: number): ClipBatch {
    if (!Number.isSafeInteger(number) || number < 0)
      throw new ConfigError(`a batch is numbered from 0 by whole numbers, got ${number}`);
    // Without weights epochs are equally long, and none has to be looked at to know where it begins.
    const length = this.options.weights ? 0 : this.batchesOf(0).length;
    if (length > 0) return this.batchesOf(Math.floor(number / length))[number % length];
    const epoch = this.epochOf(number);
    return this.batchesOf(epoch)[number - this.begins[epoch]];
  }

  /** Number of batches in an epoch, counted from 0. */
  batchesIn(epoch: number): number {
    return this.batchesOf(epoch).length;
  }

  private epochOf(number: number): number {
    while (this.begins[this.begins.length - 1] <= number) {
      const epoch = this.begins.length - 1;
      this.begins.push(this.begins[epoch] + this.batchesOf(epoch).length);
    }
    // The first epoch whose end lies behind the batch: epochs without batches are passed over.
    return this.begins.findIndex((begin) => begin > number) - 1;
  }

  private batchesOf(epoch: number): readonly ClipBatch[] {
    if (this.last?.epoch === epoch) return this.last.batches;
    const { seed } = this.options;
    const groups = [...this.clipsByBucket(epoch).values()];
    const batches = groups.flatMap((clips, group) => {
      const bucket = this.buckets[clips[0]]!;
      const shuffled = shuffle(clips, CLIP_DRAW, seed, epoch, group);
      return cut(shuffled, this.sizeOf(bucket), this.options.leftovers ?? "emit").map((indices) => ({
        epoch,
        bucket,
        indices,
      }));
    });
    this.last = { epoch, batches: shuffle(batches, BATCH_DRAW, seed, epoch) };
    return this.last.batches;
  }

  private clipsByBucket(epoch: number): Map<string, number[]> {
    const groups = new Map<string, number[]>();
    for (const [index, bucket] of this.buckets.entries()) {
      if (bucket === null) continue;
      const name = bucketName(bucket);
      const clips = groups.get(name) ?? [];
      for (let times = this.timesIn(epoch, index); times > 0; times--) clips.push(index);
      if (clips.length > 0) groups.set(name, clips);
    }
    return groups;
  }

  /** How often a clip is drawn in an epoch: the sums over epochs stay within one of the weight times their number. */
  private timesIn(epoch: number, index: number): number {
    const weight = this.options.weights?.[index] ?? 1;
    const phase = randomSource(WEIGHT_DRAW, this.options.seed, index).float();
    return Math.floor((epoch + 1) * weight + phase) - Math.floor(epoch * weight + phase);
  }

  private sizeOf(bucket: Bucket): number {
    const { batchSize } = this.options;
    const size = typeof batchSize === "number" ? batchSize : batchSize(bucket);
    if (!Number.isSafeInteger(size) || size < 1)
      throw new ConfigError(
        `the batch size for ${bucketName(bucket)} must be a whole number of 1 or more, got ${size}`,
      );
    return size;
  }
}

function cut(clips: readonly number[], size: number, policy: Leftovers): number[][] {
  const batches: number[][] = [];
  for (let at = 0; at < clips.length; at += size) batches.push(clips.slice(at, at + size));
  const last = batches[batches.length - 1];
  if (policy === "merge" && last.length < size && batches.length > 1)
    batches.splice(-2, 2, [...batches[batches.length - 2], ...last]);
  // From the first on, again and again where a bucket has fewer clips than a batch.
  if (policy === "fill") for (let at = 0; last.length < size; at++) last.push(clips[at % clips.length]);
  return batches;
}

/** Fisher-Yates. */
function shuffle<T>(list: readonly T[], ...draw: readonly number[]): T[] {
  const random = randomSource(...draw);
  const shuffled = [...list];
  for (let i = shuffled.length - 1; i > 0; i--) {
    const j = random.int(i + 1);
    [shuffled[i], shuffled[j]] = [shuffled[j], shuffled[i]];
  }
  return shuffled;
}
