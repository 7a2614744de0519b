/** @file Pixels to the moments of their latents: chunk after chunk, in tiles where asked for. */
import { ConfigError } from "../errors.ts";
import { chunkLengths, ENCODE_CHUNK } from "../models/vae/chunks.ts";
import { spatialRatio, type VaeConfig } from "../models/vae/config.ts";
import type { Engine } from "../runtime/engine.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import type { WeightSet } from "../weights/checkpoint.ts";
import type { RunHooks } from "./run-hooks.ts";
import { VaeChunks, type VaeWorkOptions } from "./vae-chunks.ts";
import { streamClip, wholeBatch } from "./vae-stream.ts";

/** The encoder of one checkpoint. */
export class VideoEncoder {
  private readonly chunks: VaeChunks;

  /** @throws WeightsError when the checkpoint does not fit the model; ConfigError for a tiling that does not work out */
  constructor(engine: Engine, config: VaeConfig, weights: WeightSet, options: VaeWorkOptions = {}) {
    this.chunks = new VaeChunks(engine, config, weights, "encode", options);
  }

  /** Moments `[F, 2L, h, w]`, a chunk at a time, for frames `[T, 3, H, W]` in [-1, 1]; sides are multiples of 8. */
  encodeStream(frames: HostTensor, hooks: RunHooks = {}): AsyncGenerator<HostTensor> {
    this.check(frames);
    const lengths = chunkLengths(frames.shape[0], ENCODE_CHUNK);
    return streamClip(this.chunks, frames, lengths, hooks);
  }

  /** Everything at once: pixels `[B, 3, T, H, W]` in [-1, 1] to moments `[B, 2L, F, h, w]`, means first. */
  encode(sample: HostTensor, hooks: RunHooks = {}): Promise<HostTensor> {
    return wholeBatch(sample, (clip) => this.encodeStream(clip, hooks));
  }

  private check({ shape }: HostTensor): void {
    const { config } = this.chunks;
    const ratio = spatialRatio(config);
    const [frames, channels, height, width] = shape;
    const fits = height % ratio === 0 && width % ratio === 0 && height > 0 && width > 0;
    if (shape.length !== 4 || channels !== config.inChannels || frames < 1 || !fits)
      throw new ConfigError(
        `frames to encode must be [T, ${config.inChannels}, H, W] with sides that are multiples of ${ratio}, ` +
          `got [${shape.join(", ")}]`,
      );
  }
}
