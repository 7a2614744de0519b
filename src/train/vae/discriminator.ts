/** @file The discriminator: a causal 3-D network that tells recorded clips from reconstructed ones, patch by patch. */
// T frames, C channels, H and W height and width
import { drawNormals } from "../../diffusion/noise.ts";
import { conv, relu } from "../../graph/functions.ts";
import { type Shape, sizeOf } from "../../graph/shape.ts";
import { input, type Tensor } from "../../graph/tensor.ts";
import { causalConv, type Prepare } from "../../models/vae/causal-conv.ts";
import { type Clip, fromClip, mapGroups, toClip } from "../../models/vae/frames.ts";
import { downsample } from "../../models/vae/resample.ts";
import { layer, Scope } from "../../nn/scope.ts";
import { rngFor } from "../diffusion/random.ts";

export type DiscriminatorConfig = {
  /** Channels of the first convolution and behind each level; every level halves height and width. */
  readonly channels: readonly number[];
  /** Levels that halve time too, the finest ones. */
  readonly temporalLevels: number;
};

/** Our choice: patches of 8 pixels and 4 frames, as the VAE's latents have. */
export const defaultDiscriminator: DiscriminatorConfig = { channels: [32, 64, 128, 256], temporalLevels: 2 };

/** Where the discriminator's parameters lie beside `encoder` and `decoder`. */
export const DISCRIMINATOR = "discriminator";

/** Slope of the activation below 0. */
const LEAK = 0.1;

/**
 * Logits `[T', 1, H', W']` for a clip `[T, 3, H, W]` in [-1, 1], above 0 where it looks recorded. Convolutions over
 * time are causal and halving time keeps the first frame for itself, as in the VAE, so that an image (T = 1) takes the
 * way of a clip's first frame. Nothing is normalised and nothing depends on the size of the picture. Declares its
 * parameters under `discriminator`.
 */
export function discriminator(
  p: Scope,
  clip: Tensor,
  { channels, temporalLevels }: DiscriminatorConfig = defaultDiscriminator,
): Tensor {
  const root = p.at(DISCRIMINATOR);
  const conv = (at: Scope, x: Clip, out: number, prepare?: Prepare) =>
    causalConv(at, x, out, alone(), prepare);
  let x = conv(root.at("conv_in"), toClip(clip, 1), channels[0]);
  for (let i = 1; i < channels.length; i++)
    x = level(root.at("levels", i - 1), x, channels[i], i <= temporalLevels);
  return fromClip(conv(root.at("conv_out"), x, 1, leaky));
}

/** (conv2(lrelu(conv1(lrelu(x)))) + mix(x)) / √2 at half the resolution; the halving is linear, so it comes last. */
const level = layer((p: Scope, x: Clip, out: number, time: boolean): Clip => {
  const between = causalConv(p.at("conv1"), x, out, alone(), leaky);
  const sum = causalConv(p.at("conv2"), between, out, alone(), leaky, mix(p.at("shortcut"), x, out));
  return downsample(
    p.at("downsampler"),
    mapGroups(sum, (group) => group.mul(Math.SQRT1_2)),
    time,
  );
});

/** A 1x1 convolution of every frame; declares `weight [out, C, 1, 1]`. */
const mix = layer((p: Scope, x: Clip, out: number): Clip => {
  const kernel = p.param("weight", [out, x.channels, 1, 1]);
  return { ...mapGroups(x, (group) => conv(group, kernel)), channels: out };
});

const leaky: Prepare = (x) =>
  relu(x)
    .mul(1 - LEAK)
    .add(x.mul(LEAK));

/** No chunk before, and none after. */
function alone() {
  return { before: null, after: new Map<string, Tensor>(), keep: false };
}

/** The keys of the discriminator and their shapes. */
export function discriminatorParams(config: DiscriminatorConfig = defaultDiscriminator): Map<string, Shape> {
  const p = new Scope();
  const side = 2 ** config.channels.length;
  discriminator(p, input("clip", [1, 3, side, side]), config);
  return new Map([...p.declared].map(([key, { shape }]) => [key, shape]));
}

/** Starting values: normal with the variance 2 / fanIn (He et al. 2015), biases 0; a function of seed and key. */
export function initialDiscriminator(
  config: DiscriminatorConfig = defaultDiscriminator,
  seed = 0,
): Map<string, { readonly shape: Shape; readonly data: Float32Array }> {
  return new Map(
    [...discriminatorParams(config)].map(([key, shape]) => {
      if (shape.length === 1) return [key, { shape, data: new Float32Array(shape[0]) }] as const;
      const deviation = Math.sqrt(2 / sizeOf(shape.slice(1)));
      const data = drawNormals(rngFor(seed, key), sizeOf(shape)).map((value) => value * deviation);
      return [key, { shape, data }] as const;
    }),
  );
}
