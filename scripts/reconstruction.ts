/** @file A clip sent through a checkpoint's VAE and back, for scripts that look at what is left of it. */
import { parseVaeConfig } from "../src/models/vae/config.ts";
import { openComponent } from "../src/pipeline/checkpoint.ts";
import { VideoDecoder } from "../src/pipeline/video-decoder.ts";
import { VideoEncoder } from "../src/pipeline/video-encoder.ts";
import type { Engine } from "../src/runtime/engine.ts";
import type { HostTensor } from "../src/runtime/protocol.ts";
import { joinFloats } from "../src/train/tasks/text-to-video.ts";
import type { FrameStack } from "../src/train/vae/metrics.ts";

/** Frames `[T, 3, H, W]` in [-1, 1] as the means of their latents give them back, not clamped. */
export type Reconstruct = (frames: HostTensor) => Promise<Float32Array>;

/** The VAE of a checkpoint folder. */
export async function reconstructor(engine: Engine, folder: string): Promise<Reconstruct> {
  const { config, weights } = await openComponent(folder, "vae", parseVaeConfig);
  const encoder = new VideoEncoder(engine, config, weights);
  const decoder = new VideoDecoder(engine, config, weights);
  return async (frames) => {
    const means: Float32Array[] = [];
    let sides: readonly number[] = [];
    for await (const { shape, data } of encoder.encodeStream(frames)) {
      const moments = (data as Float32Array).length / shape[0];
      sides = shape.slice(2);
      for (let f = 0; f < shape[0]; f++)
        means.push((data as Float32Array).slice(f * moments, (f + 0.5) * moments));
    }
    const shape = [means.length, config.latentChannels, ...sides];
    const pixels: Float32Array[] = [];
    for await (const { data } of decoder.decodeStream({ dtype: "f32", shape, data: joinFloats(means) }))
      pixels.push(data as Float32Array);
    return joinFloats(pixels);
  };
}

/** Frames `[T, 3, H, W]` around [-1, 1] as `metrics.ts` takes them. */
export function stackOf(data: Float32Array, shape: FrameStack["shape"]): FrameStack {
  return { data: data.map((x) => Math.min(1, Math.max(-1, x))), shape, layout: "planar", range: 2 };
}
