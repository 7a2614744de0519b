/** @file The values that parameters have before training: one table of distributions, and the generator behind it. */
import { createRng, drawNormals } from "../../diffusion/noise.ts";
import { ConfigError } from "../../errors.ts";
import type { Shape } from "../../graph/shape.ts";
import type { Params } from "./params-file.ts";

export type InitialOptions = {
  /** An integer; every parameter's numbers depend on it and on the parameter's key alone. */
  readonly seed: number;
  /** Channels per head of the text encoder, which its query weights depend on; 64 in all released ones. */
  readonly textHeadDim?: number;
};

/** A constant, a constant for each half, or normal numbers around zero. */
type Distribution =
  | { readonly value: number }
  | { readonly halves: readonly [number, number] }
  | { readonly std: number };
type Rule = readonly [keys: RegExp, of: (shape: Shape, textHeadDim: number) => Distribution];

const constant = (value: number) => () => ({ value });
const normal = (std: number) => () => ({ std });

/** Inputs of one output: everything behind the first axis. */
const fanIn = (shape: Shape) => shape.slice(1).reduce((product, size) => product * size, 1);

/** Glorot & Bengio 2010 for a matrix [out, in]; a patch kernel [out, c, p, p] counts as one. */
const xavier = (shape: Shape) => ({ std: Math.sqrt(2 / (shape[0] + fanIn(shape))) });

const perInput = (shape: Shape) => ({ std: 1 / Math.sqrt(fanIn(shape)) });

/**
 * Who starts how; the first rule that fits a key counts.
 *
 * | parameters | start | why |
 * |---|---|---|
 * | T5 token embedding | normal, 1 | T5 (Raffel et al. 2020), as everything of the text encoder |
 * | T5 queries | normal, (width · headDim)^-½ | takes the place of a scale on the scores |
 * | T5 other matrices | normal, fanIn^-½ | |
 * | T5 relative positions | normal, (heads · headDim)^-½ | which is width^-½ in released models |
 * | modulation of blocks and head | 0 | gates are 0, so every block starts as the identity (DiT) |
 * | transformer `proj_out` | 0 | the first prediction is 0, the mean of the target (DiT) |
 * | transformer other matrices, patches | normal, Xavier | keeps the variance whatever the width |
 * | learned positions | 0 | as in CogVideoX-5b-I2V |
 * | VAE `conv_y` | normal, 0.02; bias 1 | the norm starts almost as a plain one, |
 * | VAE `conv_b` | 0 | to which the latents add nothing |
 * | VAE moments | bias 0 for means, -6 for log-variances | noise of 0.05 drowns nothing while latents are learned |
 * | VAE convolutions | normal, fanIn^-½ | keeps the variance (LeCun) |
 * | norm weights | 1 | |
 * | biases | 0 | |
 */
const rules: readonly Rule[] = [
  [/^shared\.weight$/, normal(1)],
  [/SelfAttention\.q\.weight$/, (shape, headDim) => ({ std: 1 / Math.sqrt(fanIn(shape) * headDim) })],
  [/SelfAttention\.[kvo]\.weight$|DenseReluDense\.w[io]\S*\.weight$/, perInput],
  [/relative_attention_bias\.weight$/, ([, heads], headDim) => ({ std: 1 / Math.sqrt(heads * headDim) })],
  [/(^|\.)(norm1|norm2|norm_out)\.linear\.(weight|bias)$|^proj_out\.weight$/, constant(0)],
  [/^patch_embed\.pos_embedding$/, constant(0)],
  [/\.conv_y\.conv\.weight$/, normal(0.02)],
  [/\.conv_y\.conv\.bias$/, constant(1)],
  [/\.conv_b\.conv\.weight$/, constant(0)],
  [/^encoder\.conv_out\.conv\.bias$/, () => ({ halves: [0, -6] })],
  [/norm\w*\.weight$/, constant(1)],
  [/\.bias$/, constant(0)],
  [/^(encoder|decoder)\.\S+\.weight$/, perInput],
  [/^(patch_embed|time_embedding|ofs_embedding|transformer_blocks)\.\S+\.weight$/, xavier],
];

/**
 * Values for every declared parameter, in float32. A parameter's numbers are a function of the seed, its key and its
 * shape, so that any part can be made again alone and order does not matter.
 * @throws ConfigError for a key that no rule knows
 */
export function initialWeights(
  declared: ReadonlyMap<string, Shape>,
  { seed, textHeadDim = 64 }: InitialOptions,
): Params {
  return new Map(
    [...declared].map(([key, shape]) => {
      const count = shape.reduce((product, size) => product * size, 1);
      return [key, { shape, data: draw(distributionOf(key, shape, textHeadDim), count, seed, key) }] as const;
    }),
  );
}

function distributionOf(key: string, shape: Shape, textHeadDim: number): Distribution {
  const rule = rules.find(([keys]) => keys.test(key));
  if (rule === undefined)
    throw new ConfigError(`no rule says how ${key} starts; add one to the table of initial weights`);
  return rule[1](shape, textHeadDim);
}

function draw(distribution: Distribution, count: number, seed: number, key: string): Float32Array {
  if ("halves" in distribution)
    return Float32Array.from({ length: count }, (_, i) => distribution.halves[i < count / 2 ? 0 : 1]);
  if ("value" in distribution) return new Float32Array(count).fill(distribution.value);
  const { std } = distribution;
  return drawNormals(createRng(hash(`${seed} ${key}`)), count).map((value) => value * std);
}

/** FNV-1a, 32 bits: a generator's seed from text. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) value = Math.imul(value ^ byte, 0x01000193);
  return value >>> 0;
}
