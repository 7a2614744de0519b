/** @file What encoding and decoding take: chunk by chunk, with what every chunk leaves for the next, and tile by tile. */
import { sizeOf } from "../../graph/shape.ts";
import { chunkLengths, DECODE_CHUNK, decodedFrames, ENCODE_CHUNK } from "../../models/vae/chunks.ts";
import { spatialRatio, type VaeConfig } from "../../models/vae/config.ts";
import { decoderSegments } from "../../models/vae/decoder.ts";
import { encoderSegments } from "../../models/vae/encoder.ts";
import { CACHE_PREFIX, type ChunkCall, cacheInputs } from "../../models/vae/pass.ts";
import {
  needsTiles,
  type TileAxis,
  type Tiling,
  type TilingOptions,
  tileStarts,
  tilingFor,
} from "../../models/vae/tiling.ts";
import { segmentMemory } from "../../runtime/segment-memory.ts";
import { noWork, segmentWork, sumOfWork, timesWork, type Work } from "../../runtime/segment-work.ts";
import { isLargeChunk } from "../vae-chunks.ts";
import { isNarrowIn, type PlannedModel } from "./models.ts";
import { inArena, type StagePlan, storedBytes, uncollected } from "./stage-plan.ts";

/** A clip on its way through the VAE: frames and sides in pixels to encode, in latents to decode. */
export type VaeRequest = {
  readonly direction: "encode" | "decode";
  readonly frames: number;
  readonly height: number;
  readonly width: number;
  readonly tiling: boolean | TilingOptions;
};

/** How a clip is cut. */
export type VaeCuts = {
  /** Frames of each chunk; the first may be longer. */
  readonly chunks: readonly number[];
  /** Tiles of a frame, 1 without tiling. */
  readonly tiles: number;
  /** Their area in units of the largest: those at the right and at the bottom are cut off. */
  readonly area: number;
  /** The area of one tile of every shape, in the same units. */
  readonly shapes: number;
  /** Sides of the largest tile. */
  readonly height: number;
  readonly width: number;
};

/** How the VAE will cut a clip. @throws ConfigError for a VAE whose tiles do not work out */
export function cutsOf(config: VaeConfig, request: VaeRequest): VaeCuts {
  const { direction, frames, height, width } = request;
  const chunks = chunkLengths(frames, direction === "encode" ? ENCODE_CHUNK : DECODE_CHUNK);
  const tiling: Tiling | null = request.tiling ? tilingFor(config, direction, request.tiling) : null;
  if (tiling === null || !needsTiles({ height, width }, tiling))
    return { chunks, tiles: 1, area: 1, shapes: 1, height, width };
  const rows = tileSides(height, tiling.height);
  const columns = tileSides(width, tiling.width);
  return {
    chunks,
    tiles: rows.length * columns.length,
    area: (sum(rows) * sum(columns)) / (rows[0] * columns[0]),
    shapes: (sum([...new Set(rows)]) * sum([...new Set(columns)])) / (rows[0] * columns[0]),
    height: rows[0],
    width: columns[0],
  };
}

function tileSides(length: number, axis: TileAxis): number[] {
  return tileStarts(length, axis).map((start) => Math.min(axis.size, length - start));
}

/** Channels per block on processors with wide vectors, see runtime/conv-block.ts. */
const BLOCK = 16;

/** The encoder or the decoder over a whole clip. */
export function vaePlan(model: PlannedModel<VaeConfig>, request: VaeRequest): StagePlan {
  const { config, weights } = model;
  const { chunks, area, shapes, height, width } = cutsOf(config, request);
  const { direction } = request;
  const build = direction === "encode" ? encoderSegments : decoderSegments;
  const block = config.channels.every((channels) => channels % BLOCK === 0) ? BLOCK : 1;
  const plans = new Map<string, ChunkPlan>();
  const planOf = (i: number): ChunkPlan => {
    const place = { frames: chunks[i], continues: i > 0, keeps: i < chunks.length - 1 };
    const key = Object.values(place).join();
    const known = plans.get(key) ?? chunkPlan(model, build, { ...place, height, width, block }, direction);
    plans.set(key, known);
    return known;
  };
  let peak = 0;
  let work: Work = noWork;
  for (const [i] of chunks.entries()) {
    const { own, kept, activations, work: once } = planOf(i);
    peak = Math.max(peak, own + (area - 1) * kept + (shapes - 1) * activations);
    work = sumOfWork([work, timesWork(once, area)]);
  }
  const largest = { frames: chunks[0], height, width, continues: false, keeps: false, block };
  return {
    stage: direction,
    memory: peak + onHost(config, request, chunks[0]),
    mapped: weights === null ? storedBytes(build(config, largest)) : weights.totalBytes,
    work,
  };
}

/**
 * What the heap takes for each byte that is alive in a small chunk, whose sessions share it. Activations count in every
 * level: those of one have other sizes than those before, and fit into few of the holes. Weights count once: kernels
 * of one level have the sizes of another's, and where they are the larger part, they leave holes that take the
 * activations. Measured, see docs/planning.md.
 */
const HEAP_OF_LEVELS = 2.85;

type ChunkPlan = {
  /** The most while the chunk is worked on, with the caches of this clip or tile. */
  readonly own: number;
  /** Caches that are there between two chunks. */
  readonly kept: number;
  /** What is alive in all levels of a small chunk: tiles of other shapes find no holes of their sizes in the heap. */
  readonly activations: number;
  readonly work: Work;
};

function chunkPlan(
  model: PlannedModel<VaeConfig>,
  build: typeof decoderSegments,
  call: ChunkCall,
  direction: "encode" | "decode",
): ChunkPlan {
  const isNarrow = isNarrowIn(model);
  const segments = build(model.config, call);
  const isLarge = isLargeChunk(model.config, direction, call);
  const before = segments.map((segment) => floats([...cacheInputs(segment).values()]));
  let caches = sum(before);
  let groups = 0;
  let passed = 0;
  let own = 0;
  let activations = 0;
  let weights = 0;
  for (const [i, segment] of segments.entries()) {
    if (isLarge) own = Math.max(own, caches + groups + inArena(segment, isNarrow) + uncollected(passed));
    else {
      const level = segmentMemory(segment, isNarrow);
      activations += level.activations;
      weights = Math.max(weights, level.live - level.activations);
      own = Math.max(own, caches + groups + HEAP_OF_LEVELS * Math.max(activations, weights));
    }
    const outputs = Object.entries(segment.outputs);
    const left = floats(outputs.filter(([name]) => name.startsWith(CACHE_PREFIX)).map(([, x]) => x.shape));
    passed += groups + before[i];
    caches += left - before[i];
    groups = floats(outputs.map(([, x]) => x.shape)) - left;
  }
  const work = sumOfWork(segments.map((segment) => segmentWork(segment, isNarrow)));
  return { own, kept: Math.max(caches, sum(before)), activations, work };
}

/** What a video file is written with: libraries, and the frames that an encoder looks ahead to. */
const WRITER = 20 << 20;
const WRITER_PER_PIXEL = 60 * 1.5;

/** Pixels on the host: all of a clip that is encoded; of one that is decoded, a chunk as it comes, and as it is written. */
function onHost(config: VaeConfig, { direction, frames, height, width, tiling }: VaeRequest, chunk: number) {
  if (direction === "encode") return 4 * config.inChannels * frames * height * width;
  const ratio = spatialRatio(config);
  const plane = height * width * ratio ** 2;
  const pixels = decodedFrames(chunk, config.temporalLevels) * plane;
  const writer = WRITER + WRITER_PER_PIXEL * plane;
  return writer + 4 * config.outChannels * pixels * (tiling ? 4 : 2);
}

function floats(shapes: readonly (readonly number[])[]): number {
  return 4 * sum(shapes.map((shape) => sizeOf(shape)));
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
