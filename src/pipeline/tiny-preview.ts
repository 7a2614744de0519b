/** @file Previews by a tiny decoder: all frames of a clip at their size, instead of colours by a linear map. */
import type { HostTensor } from "../runtime/protocol.ts";
import { joinFrames } from "./clip-layout.ts";
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
    return joinFrames(parts);
  };
  return { channels, show };
}
