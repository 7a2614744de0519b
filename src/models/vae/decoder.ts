/** @file The decoder: latents of one chunk to frames, in segments that follow its levels. */
// T frames, L latent channels, h and w latent height and width
import { type Segment, traceSegment } from "../../graph/segment.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { Scope } from "../../nn/scope.ts";
import { causalConv } from "./causal-conv.ts";
import type { VaeConfig } from "./config.ts";
import { type Clip, fromClip, toClip } from "./frames.ts";
import { type ChunkCall, cachesOut, clipFrom, groupsIn, groupsOut, vaePass } from "./pass.ts";
import { upsample } from "./resample.ts";
import { type Pass, resnetBlock } from "./resnet.ts";

/** From latents to the coarsest level: the first convolution and the middle block. */
export function decoderFront(p: Scope, latents: Tensor, config: VaeConfig, pass: Pass, block: number): Clip {
  const channels = config.channels.at(-1)!;
  let x = causalConv(p.at("conv_in"), toClip(latents, block, pass.batch), channels, pass.caches);
  for (let i = 0; i < 2; i++) x = resnetBlock(p.at("mid_block", "resnets", i), x, channels, pass);
  return x;
}

/** Level `index`, coarsest first: doubled resolution except at the first, then residual blocks. */
export function decoderLevel(p: Scope, clip: Clip, index: number, config: VaeConfig, pass: Pass): Clip {
  const out = config.channels.toReversed()[index];
  const before = index - 1;
  let x =
    index === 0
      ? clip
      : upsample(p.at("up_blocks", before, "upsamplers", 0), clip, before < config.temporalLevels);
  for (let j = 0; j <= config.layers; j++)
    x = resnetBlock(p.at("up_blocks", index, "resnets", j), x, out, pass);
  return x;
}

/** From the finest level to frames `[T, 3, H, W]`. */
export function decoderHead(p: Scope, clip: Clip, config: VaeConfig, pass: Pass): Tensor {
  const prepare = pass.activate(p.at("norm_out"), clip);
  return fromClip(causalConv(p.at("conv_out"), clip, config.outChannels, pass.caches, prepare));
}

/**
 * Traces the decoder for a chunk of `call.frames` latents of `call.height` x `call.width`. The first segment takes
 * `latents [F, L, h, w]`, as every other one does for its norms; the last one gives `sample [T, 3, 8h, 8w]`.
 */
export function decoderSegments(config: VaeConfig, call: ChunkCall): Segment[] {
  const levels = config.channels.length;
  const latents = [call.frames, config.latentChannels, call.height, call.width];
  const segments: Segment[] = [];
  for (let stage = 0; stage <= levels; stage++) {
    const name = stage === 0 ? "decoder.mid_block" : `decoder.up_blocks.${stage - 1}`;
    const arriving = segments.at(-1)?.outputs;
    const segment = traceSegment(name, { latents, ...groupsIn(arriving) }, (inputs) => {
      const p = new Scope().at("decoder");
      const pass = vaePass(config, call, inputs.latents);
      const x =
        stage === 0
          ? decoderFront(p, inputs.latents, config, pass, call.block)
          : decoderLevel(
              p,
              clipFrom(inputs, arrivingChannels(config, stage), call.block),
              stage - 1,
              config,
              pass,
            );
      const outputs = stage === levels ? { sample: decoderHead(p, x, config, pass) } : groupsOut(x);
      return { outputs: { ...outputs, ...cachesOut(pass) }, params: p.declared };
    });
    segments.push(segment);
  }
  return segments;
}

/** Channels of what arrives at a stage: those of the level before, coarsest first. */
function arrivingChannels({ channels }: VaeConfig, stage: number): number {
  return channels.toReversed()[Math.max(0, stage - 2)];
}
