/** @file A tiny decoder of video latents, after TAEHV of Ollin Boer Bohan: convolutions that see the frame before. */
// T frames of a chunk, C channels, h and w height and width of the latents
import { concat, conv, maximum, minimum, relu, tanh, upsample } from "../../graph/functions.ts";
import { type Segment, traceSegment } from "../../graph/segment.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { layer, Scope } from "../../nn/scope.ts";

/** Channels of the latents, of the three levels, and behind the last one. */
export type TinyVaeConfig = { readonly latentChannels: number; readonly widths: readonly number[] };

/** Of each level: whether it doubles time behind its blocks. All double height and width. */
const doublesTime = [false, true, true] as const;
const BLOCKS = 3;
/** Layers of a level as the checkpoint counts them: blocks, doubling of space, doubling of time, a convolution. */
const LAYERS = BLOCKS + 3;
/** The layers before the first level: a bound, a convolution, an activation. */
const FRONT = 3;
const HEAD = FRONT + doublesTime.length * LAYERS + 1;

/** Frames that each latent frame becomes. */
export const TIME_RATIO = 4;

/** What a chunk leaves for the next one goes out and in under this prefix and the number of a block. */
export const PAST_PREFIX = "past/";

/** Keys of the weights whose shapes tell all widths: into the levels, and from each to the next. */
export const widthKeys = [
  "decoder.1.weight",
  ...doublesTime.map((_, level) => `decoder.${FRONT + level * LAYERS + LAYERS - 1}.weight`),
];

export type TinyChunk = { readonly frames: number; readonly height: number; readonly width: number };

const convolve = layer((p, x: Tensor, out: number, { bias = true } = {}) =>
  conv(x, p.param("weight", [out, x.dim(1), 3, 3]), bias ? p.param("bias", [out]) : undefined, {
    before: [1, 1],
    after: [1, 1],
  }),
);

/** A residual block of `x [T, C, h, w]` that sees every frame beside the one before; `past [1, C, h, w]` is before the first. */
const memoryBlock = layer((p, x: Tensor, past: Tensor) => {
  const [frames, channels] = x.shape;
  const before = frames === 1 ? past : concat([past, x.slice(0, 0, frames - 1)], 0);
  let y = relu(convolve(p.at("conv", 0), concat([x, before], 1), channels));
  y = relu(convolve(p.at("conv", 2), y, channels));
  return relu(convolve(p.at("conv", 4), y, channels).add(x));
});

/** Every frame of `x [T, C, h, w]` becomes `stride` frames, by a map of its channels. */
const grow = layer((p, x: Tensor, stride: number) => {
  const [frames, channels, height, width] = x.shape;
  const grown = conv(x, p.at("conv").param("weight", [channels * stride, channels, 1, 1]));
  return grown.reshape([frames * stride, channels, height, width]);
});

/** Blocks, then doubled space and, where the level does so, time. The map of channels goes first: nearest pixels do not mind. */
function levelOf(p: Scope, x: Tensor, level: number, config: TinyVaeConfig, inputs: Inputs) {
  const first = FRONT + level * LAYERS;
  const pasts: Record<string, Tensor> = {};
  let y = x;
  for (let i = first; i < first + BLOCKS; i++) {
    pasts[PAST_PREFIX + i] = y.slice(0, y.dim(0) - 1);
    y = memoryBlock(p.at(i), y, inputs[PAST_PREFIX + i]);
  }
  y = upsample(grow(p.at(first + BLOCKS + 1), y, doublesTime[level] ? 2 : 1), [1, 1, 2, 2]);
  return { y: convolve(p.at(first + LAYERS - 1), y, config.widths[level + 1], { bias: false }), pasts };
}

type Inputs = Readonly<Record<string, Tensor>>;

/**
 * Traces the decoder for a chunk of latents `[T, L, h, w]` as the transformer makes them, not unscaled. A segment for
 * each level takes the last frames that its blocks have seen (zeros before the first chunk) and gives out those for the
 * next chunk; the last one gives `sample [4T, 3, 8h, 8w]` in [-1, 1].
 */
export function tinyDecoderSegments(config: TinyVaeConfig, chunk: TinyChunk): Segment[] {
  const last = doublesTime.length - 1;
  return doublesTime.map((_, level) => {
    const shape = arrivingShape(config, chunk, level);
    const specs = { [level === 0 ? "latents" : "x"]: shape, ...pastShapes(config, chunk, level) };
    return traceSegment(`decoder.level.${level}`, specs, (inputs) => {
      const p = new Scope().at("decoder");
      const x = level === 0 ? front(p, inputs.latents, config) : inputs.x;
      const { y, pasts } = levelOf(p, x, level, config, inputs);
      const outputs: Record<string, Tensor> = level === last ? { sample: head(p, y) } : { x: y };
      return { outputs: { ...outputs, ...pasts }, params: p.declared };
    });
  });
}

/** Shapes of the last frames that the blocks of a level have seen, by input name. */
export function pastShapes(config: TinyVaeConfig, chunk: TinyChunk, level: number): Record<string, number[]> {
  const [, , height, width] = arrivingShape(config, chunk, level);
  const first = FRONT + level * LAYERS;
  const shape = [1, config.widths[level], height, width];
  return Object.fromEntries(Array.from({ length: BLOCKS }, (_, i) => [PAST_PREFIX + (first + i), shape]));
}

/** Shape of what a level is given: latents, or what the level before leaves. */
function arrivingShape(config: TinyVaeConfig, { frames, height, width }: TinyChunk, level: number): number[] {
  const scale = 2 ** level;
  const longer = 2 ** doublesTime.slice(0, level).filter(Boolean).length;
  const channels = level === 0 ? config.latentChannels : config.widths[level];
  return [frames * longer, channels, height * scale, width * scale];
}

/** Latents are bounded to ±3 before the first convolution. */
function front(p: Scope, latents: Tensor, { widths }: TinyVaeConfig): Tensor {
  return relu(convolve(p.at(1), tanh(latents.div(3)).mul(3), widths[0]));
}

function head(p: Scope, x: Tensor): Tensor {
  const colours = convolve(p.at(HEAD), relu(x), 3);
  return minimum(maximum(colours, 0), 1).mul(2).sub(1);
}
