/** @file The encoder: frames of one chunk to the moments of its latents, in segments that follow its levels. */
// T frames, L latent channels, H and W height and width in pixels
import { type Segment, traceSegment } from "../../graph/segment.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { Scope } from "../../nn/scope.ts";
import { causalConv } from "./causal-conv.ts";
import type { VaeConfig } from "./config.ts";
import { type Clip, fromClip, toClip } from "./frames.ts";
import { type ChunkCall, cachesOut, clipFrom, groupsIn, groupsOut, vaePass } from "./pass.ts";
import { downsample } from "./resample.ts";
import { type Pass, resnetBlock } from "./resnet.ts";

/** Level `index`, finest first: residual blocks, then half the resolution except at the last. */
export function encoderLevel(p: Scope, clip: Clip, index: number, config: VaeConfig, pass: Pass): Clip {
  const level = p.at("down_blocks", index);
  let x = clip;
  for (let j = 0; j < config.layers; j++)
    x = resnetBlock(level.at("resnets", j), x, config.channels[index], pass);
  const isLast = index === config.channels.length - 1;
  return isLast ? x : downsample(level.at("downsamplers", 0), x, index < config.temporalLevels);
}

/** The middle block and the last convolution: moments `[F, 2L, h, w]`, means before log-variances. */
export function encoderHead(p: Scope, clip: Clip, config: VaeConfig, pass: Pass): Tensor {
  let x = clip;
  for (let i = 0; i < 2; i++) x = resnetBlock(p.at("mid_block", "resnets", i), x, clip.channels, pass);
  const prepare = pass.activate(p.at("norm_out"), x);
  return fromClip(causalConv(p.at("conv_out"), x, 2 * config.latentChannels, pass.caches, prepare));
}

/**
 * Traces the encoder for a chunk of `call.frames` frames of `call.height` x `call.width` pixels. The first segment
 * takes `sample [T, 3, H, W]`; the last one gives `moments [F, 2L, h, w]`.
 */
export function encoderSegments(config: VaeConfig, call: ChunkCall): Segment[] {
  const levels = config.channels.length;
  const segments: Segment[] = [];
  for (let index = 0; index < levels; index++) {
    const arriving = segments.at(-1)?.outputs;
    const specs =
      index === 0
        ? { sample: [call.frames, config.inChannels, call.height, call.width] }
        : groupsIn(arriving);
    const segment = traceSegment(
      `encoder.down_blocks.${index}`,
      specs,
      (inputs: Readonly<Record<string, Tensor>>) => {
        const p = new Scope().at("encoder");
        const pass = vaePass(config, call, null);
        const start =
          index === 0
            ? causalConv(p.at("conv_in"), toClip(inputs.sample, call.block), config.channels[0], pass.caches)
            : clipFrom(inputs, config.channels[index - 1], call.block);
        const x = encoderLevel(p, start, index, config, pass);
        const outputs = index === levels - 1 ? { moments: encoderHead(p, x, config, pass) } : groupsOut(x);
        return { outputs: { ...outputs, ...cachesOut(pass) }, params: p.declared };
      },
    );
    segments.push(segment);
  }
  return segments;
}
