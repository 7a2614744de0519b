/** @file Previews by a tiny decoder: all frames of a clip at their size, instead of colours by a linear map. */
import { sizeOf } from "../graph/shape.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import { decodeLatents } from "./decode.ts";
import type { Pipeline } from "./pipeline.ts";
import type { Look } from "./preview.ts";
import { openTinyDecoder } from "./tiny-decoder.ts";

/**
 * A look at clean latents through the weights of a tiny decoder; `decoder` as in `loadPipeline`.
 * @throws WeightsError, ConfigError as `openTinyDecoder`
 */
export async function tinyLook({ engine, checkpoint }: Pipeline, decoder: string): Promise<Look> {
  const channels = checkpoint.transformer.config.outChannels;
  const tinyDecoder = await openTinyDecoder(decoder, checkpoint.folder, channels);
  const show = async ({ shape, data }: HostTensor): Promise<HostTensor> => {
    const latents: HostTensor = { dtype: "f32", shape: [1, ...shape], data };
    const parts: HostTensor[] = [];
    for await (const { frames } of decodeLatents(engine, { ...checkpoint, tinyDecoder }, latents, {
      padding: 0,
    }))
      parts.push(frames);
    return joined(parts);
  };
  return { channels, show };
}

/** Parts `[Ti, H, W, 3]` one after the other. */
function joined(parts: readonly HostTensor[]): HostTensor {
  const [, ...size] = parts[0].shape;
  const frames = parts.reduce((sum, { shape }) => sum + shape[0], 0);
  const data = new Float32Array(frames * sizeOf(size));
  let at = 0;
  for (const part of parts) {
    data.set(part.data as Float32Array, at);
    at += part.data.length;
  }
  return { dtype: "f32", shape: [frames, ...size], data };
}
