/** @file One half of the VAE at work on a stream of chunks; what a chunk leaves for the next one is a value. */
import { ConfigError } from "../errors.ts";
import type { Segment } from "../graph/segment.ts";
import { sameShape, showShape } from "../graph/shape.ts";
import { spatialRatio, temporalRatio, type VaeConfig } from "../models/vae/config.ts";
import { decoderSegments } from "../models/vae/decoder.ts";
import { encoderSegments } from "../models/vae/encoder.ts";
import { CACHE_PREFIX, type ChunkCall, cacheInputs } from "../models/vae/pass.ts";
import { type Tiling, type TilingOptions, tilingFor } from "../models/vae/tiling.ts";
import { convBlock } from "../runtime/conv-block.ts";
import type { Engine } from "../runtime/engine.ts";
import { declaredShapes, mapWeights } from "../runtime/mapped-weights.ts";
import type { HostTensor, ResidentRef } from "../runtime/protocol.ts";
import { SegmentPool } from "../runtime/segment-pool.ts";
import type { WeightSet } from "../weights/checkpoint.ts";
import type { RunHooks } from "./run-hooks.ts";

/** What a chunk leaves for the next one of the same clip: the last frames that every convolution has seen. */
export type ChunkCache = ReadonlyMap<string, ResidentRef>;

/** Whether a chunk continues a clip, and whether another one follows. */
export type ChunkPlace = { readonly cache: ChunkCache | null; readonly isLast: boolean };

/** How a half of the VAE goes about a clip. */
export type VaeWorkOptions = {
  /** Overlapping tiles; true for the reference's sizes. */
  readonly tiling?: boolean | TilingOptions;
};

/** Elements of a chunk's activations at the finest level from which it is large: 64 MiB as float32. */
const LARGE_CHUNK = 1 << 24;

/** The encoder or the decoder of one checkpoint. Every size of chunk is traced once. */
export class VaeChunks {
  readonly config: VaeConfig;
  /** What clips are cut into, each tile with chunks and caches of its own; null for whole ones. */
  readonly tiling: Tiling | null;
  private readonly engine: Engine;
  private readonly direction: "encode" | "decode";
  private readonly pools: { readonly small: SegmentPool; readonly large: SegmentPool };
  private readonly traced = new Map<string, readonly Segment[]>();

  /** @throws WeightsError when the checkpoint does not fit the model; ConfigError for a tiling that does not work out */
  constructor(
    engine: Engine,
    config: VaeConfig,
    weights: WeightSet,
    direction: "encode" | "decode",
    { tiling = false }: VaeWorkOptions = {},
  ) {
    this.engine = engine;
    this.config = config;
    this.tiling = tiling === false ? null : tilingFor(config, direction, tiling);
    this.direction = direction;
    const mapped = mapWeights(weights, vaeShapes(config));
    this.pools = {
      small: new SegmentPool(engine, mapped),
      large: new SegmentPool(engine, mapped, { once: true }),
    };
  }

  /**
   * Works on one chunk: frames `[T, 3, H, W]` to moments `[F, 2L, h, w]`, or latents `[F, L, h, w]` to frames. The
   * cache that goes in is used up; the one that comes out belongs to the caller, and is empty after the last chunk.
   * @throws ConfigError when the cache was made by chunks of another size
   */
  async run(
    chunk: HostTensor,
    { cache, isLast }: ChunkPlace,
    { signal, onSegment }: RunHooks = {},
  ): Promise<{ readonly result: HostTensor; readonly cache: ChunkCache }> {
    const segments = await this.segmentsFor(chunk, cache !== null, !isLast);
    const pool = this.poolFor(chunk);
    const next = new Map<string, ResidentRef>();
    const first = this.direction === "encode" ? "sample" : "latents";
    const source = await this.engine.upload(chunk);
    let groups: Record<string, ResidentRef> = { [first]: source };
    try {
      for (const [i, segment] of segments.entries()) {
        const caches = pickCaches(segment, cache);
        const guide: Record<string, ResidentRef> = this.direction === "decode" ? { latents: source } : {};
        const consume = [...Object.values(groups), ...Object.values(caches)].filter((x) => x !== source);
        const outputs = await pool.run(segment, { ...guide, ...groups, ...caches }, { consume, signal });
        groups = {};
        for (const [name, tensor] of Object.entries(outputs))
          if (name.startsWith(CACHE_PREFIX)) next.set(name, tensor);
          else groups[name] = tensor;
        onSegment?.(segment.name, i + 1, segments.length);
      }
    } finally {
      await this.engine.free(source);
    }
    const [result] = Object.values(groups);
    return { result: await pool.download(result), cache: next };
  }

  /** Lets a cache go that no chunk will use. */
  async drop(cache: ChunkCache): Promise<void> {
    await this.engine.free(...cache.values());
  }

  async close(): Promise<void> {
    await this.pools.small.close();
    await this.pools.large.close();
  }

  /** Sessions of small chunks are kept for the next chunk; those of large ones would keep gigabytes. */
  private poolFor({ shape: [frames, , height, width] }: HostTensor): SegmentPool {
    const isLarge = isLargeChunk(this.config, this.direction, { frames, height, width });
    return isLarge ? this.pools.large : this.pools.small;
  }

  private async segmentsFor(
    { shape }: HostTensor,
    continues: boolean,
    keeps: boolean,
  ): Promise<readonly Segment[]> {
    const [frames, , height, width] = shape;
    const key = [frames, height, width, continues, keeps].join();
    const found = this.traced.get(key) ?? (await this.trace({ frames, height, width, continues, keeps }));
    this.traced.set(key, found);
    return found;
  }

  private async trace(call: Omit<ChunkCall, "block">): Promise<readonly Segment[]> {
    const found = await convBlock(this.engine);
    const block = this.config.channels.every((channels) => channels % found === 0) ? found : 1;
    const build = this.direction === "encode" ? encoderSegments : decoderSegments;
    return build(this.config, { ...call, block });
  }
}

/** Whether a chunk of frames of such a size is so large that its segments have an arena each, for one run. */
export function isLargeChunk(
  config: VaeConfig,
  direction: "encode" | "decode",
  { frames, height, width }: { readonly frames: number; readonly height: number; readonly width: number },
): boolean {
  const scale = direction === "encode" ? 1 : spatialRatio(config) ** 2 * temporalRatio(config);
  return config.channels[0] * frames * height * width * scale > LARGE_CHUNK;
}

/** Shapes of every parameter of the whole VAE, by checkpoint key. */
export function vaeShapes(config: VaeConfig): Map<string, readonly number[]> {
  const ratio = spatialRatio(config);
  const call = { frames: 1, continues: false, keeps: false, block: 1 };
  const encoder = encoderSegments(config, { ...call, height: ratio, width: ratio });
  return declaredShapes([...encoder, ...decoderSegments(config, { ...call, height: 1, width: 1 })]);
}

/** The caches a segment takes, checked against the shapes it was traced for. */
function pickCaches(segment: Segment, cache: ChunkCache | null): Record<string, ResidentRef> {
  const picked: Record<string, ResidentRef> = {};
  for (const [name, shape] of cacheInputs(segment)) {
    const tensor = cache?.get(name);
    if (tensor === undefined || !sameShape(tensor.shape, shape))
      throw new ConfigError(
        `the cache of ${name.slice(CACHE_PREFIX.length)} is ${tensor ? showShape(tensor.shape) : "missing"}, ` +
          `but this chunk needs ${showShape(shape)}; a cache fits only the next chunk of the same clip`,
      );
    picked[name] = tensor;
  }
  return picked;
}
