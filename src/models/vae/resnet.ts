/** @file The residual block that every level of the VAE is made of. */
import { after, conv } from "../../graph/functions.ts";
import { layer, type Scope } from "../../nn/scope.ts";
import { type Caches, causalConv, type Prepare } from "./causal-conv.ts";
import { type Clip, mapGroups, regroup } from "./frames.ts";
import { paddedBias, tapRows } from "./kernels.ts";

/** What every block of one pass through the VAE needs to know. */
export type Pass = {
  /** Norm and activation of a clip, plain or steered by the latents; declares the norm's parameters under `p`. */
  readonly activate: (p: Scope, clip: Clip) => Prepare;
  readonly caches: Caches;
  /** Clips that go through side by side, see `Clip`. */
  readonly batch?: number;
};

/** x + conv2(silu(norm2(conv1(silu(norm1(x)))))), with a 1x1 convolution on x where the channels change. */
export const resnetBlock = layer((p, clip: Clip, out: number, pass: Pass): Clip => {
  const [, channels, height, width] = clip.groups[0].shape;
  const x = regroup(clip, Math.max(channels, out) * height * width);
  const first = pass.activate(p.at("norm1"), x);
  const changes = x.channels !== out;
  const skip = changes ? shortcut(p.at("conv_shortcut"), x, out) : x;
  // With the shortcut taken before the activation, a group of the wide input is free once it is convolved.
  const prepared: Prepare = changes ? (group, i) => first(after(group, skip.groups[i]), i) : first;
  const between = causalConv(p.at("conv1"), x, out, pass.caches, prepared);
  const second = pass.activate(p.at("norm2"), between);
  return causalConv(p.at("conv2"), between, out, pass.caches, second, skip);
});

/** A 1x1x1 convolution; declares `weight [out, C, 1, 1, 1]` and `bias [out]`. */
const shortcut = layer((p, clip: Clip, out: number): Clip => {
  const { channels, block } = clip;
  const kernel = tapRows(p.param("weight", [out, channels, 1, 1, 1]), block).reshape([out, channels, 1, 1]);
  const bias = paddedBias(p.param("bias", [out]), block);
  return { ...mapGroups(clip, (x) => conv(x, kernel, bias, { block })), channels: out };
});
