/** @file Latents to pixels: chunk after chunk, in tiles where asked for. */
import { ConfigError } from "../errors.ts";
import { chunkLengths, DECODE_CHUNK, decodedFrames } from "../models/vae/chunks.ts";
import type { VaeConfig } from "../models/vae/config.ts";
import type { Engine } from "../runtime/engine.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import type { WeightSet } from "../weights/checkpoint.ts";
import type { RunHooks } from "./run-hooks.ts";
import { VaeChunks, type VaeWorkOptions } from "./vae-chunks.ts";
import { streamClip, wholeBatch } from "./vae-stream.ts";

/** The decoder of one checkpoint. */
export class VideoDecoder {
  private readonly chunks: VaeChunks;

  /** @throws WeightsError when the checkpoint does not fit the model; ConfigError for a tiling that does not work out */
  constructor(engine: Engine, config: VaeConfig, weights: WeightSet, options: VaeWorkOptions = {}) {
    this.chunks = new VaeChunks(engine, config, weights, "decode", options);
  }

  /** Pixel frames that `latentFrames` latent frames decode to: 4(F - 1) + 1 for an odd number, 4F for an even one. */
  framesOf(latentFrames: number): number {
    const { temporalLevels } = this.chunks.config;
    const lengths = chunkLengths(latentFrames, DECODE_CHUNK);
    return lengths.reduce((total, length) => total + decodedFrames(length, temporalLevels), 0);
  }

  /**
   * Frames `[T, 3, H, W]` around [-1, 1], a chunk at a time, for latents `[F, L, h, w]` that are not scaled. Memory
   * does not depend on F. Leaving the loop early, or an error, lets everything go.
   */
  decodeStream(latents: HostTensor, hooks: RunHooks = {}): AsyncGenerator<HostTensor> {
    this.check(latents);
    const lengths = chunkLengths(latents.shape[0], DECODE_CHUNK);
    return streamClip(this.chunks, latents, lengths, hooks);
  }

  /** Everything at once: latents `[B, L, F, h, w]` to pixels `[B, 3, T, H, W]`. */
  decode(latents: HostTensor, hooks: RunHooks = {}): Promise<HostTensor> {
    return wholeBatch(latents, (clip) => this.decodeStream(clip, hooks));
  }

  private check({ shape }: HostTensor): void {
    const { latentChannels } = this.chunks.config;
    if (shape.length !== 4 || shape[1] !== latentChannels || shape[0] < 1)
      throw new ConfigError(
        `latents to decode must be [F, ${latentChannels}, h, w], got [${shape.join(", ")}]`,
      );
  }
}
