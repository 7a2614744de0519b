/** @file Latents to pixels: chunk after chunk, in tiles where asked for. */
import { ConfigError } from "../errors.ts";
import { chunkLengths, DECODE_CHUNK, decodedFrames } from "../models/vae/chunks.ts";
import type { VaeConfig } from "../models/vae/config.ts";
import { type Tiling, type TilingOptions, tilingFor } from "../models/vae/tiling.ts";
import type { Engine } from "../runtime/engine.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import type { WeightSet } from "../weights/checkpoint.ts";
import type { RunHooks } from "./run-hooks.ts";
import { VaeChunks } from "./vae-chunks.ts";
import { streamClip, wholeBatch } from "./vae-stream.ts";

export type VaeWorkOptions = {
  /** Overlapping tiles; true for the reference's sizes. */
  readonly tiling?: boolean | TilingOptions;
};

/** The decoder of one checkpoint. */
export class VideoDecoder {
  private readonly config: VaeConfig;
  private readonly chunks: VaeChunks;
  private readonly tiling: Tiling | null;

  /** @throws WeightsError when the checkpoint does not fit the model */
  constructor(
    engine: Engine,
    config: VaeConfig,
    weights: WeightSet,
    { tiling = false }: VaeWorkOptions = {},
  ) {
    this.config = config;
    this.chunks = new VaeChunks(engine, config, weights, "decode");
    this.tiling = tiling === false ? null : tilingFor(config, "decode", tiling);
  }

  /** Pixel frames that `latentFrames` latent frames decode to: 4(F - 1) + 1 for an odd number, 4F for an even one. */
  framesOf(latentFrames: number): number {
    const lengths = chunkLengths(latentFrames, DECODE_CHUNK);
    return lengths.reduce((total, length) => total + decodedFrames(length, this.config.temporalLevels), 0);
  }

  /**
   * Frames `[T, 3, H, W]` around [-1, 1], a chunk at a time, for latents `[F, L, h, w]` that are not scaled. Memory
   * does not depend on F. Leaving the loop early, or an error, lets everything go.
   */
  decodeStream(latents: HostTensor, hooks: RunHooks = {}): AsyncGenerator<HostTensor> {
    this.check(latents);
    const lengths = chunkLengths(latents.shape[0], DECODE_CHUNK);
    return streamClip(this.chunks, latents, lengths, this.tiling, hooks);
  }

  /** Everything at once: latents `[B, L, F, h, w]` to pixels `[B, 3, T, H, W]`. */
  decode(latents: HostTensor, hooks: RunHooks = {}): Promise<HostTensor> {
    return wholeBatch(latents, (clip) => this.decodeStream(clip, hooks));
  }

  private check({ shape }: HostTensor): void {
    if (shape.length !== 4 || shape[1] !== this.config.latentChannels || shape[0] < 1)
      throw new ConfigError(
        `latents to decode must be [F, ${this.config.latentChannels}, h, w], got [${shape.join(", ")}]`,
      );
  }
}
