/** @file What training takes in memory, estimated before it starts, and what to change where it cannot fit. */
import type { T5Config } from "../../models/t5/config.ts";
import type { TransformerConfig } from "../../models/transformer/config.ts";
import type { VaeConfig } from "../../models/vae/config.ts";
import { availableMemory } from "../../runtime/memory.ts";
import { rolesOf } from "../optimiser/update.ts";

/** Everything is trained in float32. */
const FLOAT = 4;

/** Scores that a tile of attention's gradient may have (autodiff/attention.ts), and how many such tensors it needs. */
const TILE_SCORES = 2 ** 24;
const TILES = 4;

/** The engine itself with its compiled graphs: what small models took beyond their tensors when measured. */
const ENGINE = 150 * 2 ** 20;

/** Bytes of a training run by what they are for. */
export type TrainingMemory = {
  readonly weights: number;
  /** Mean and square of AdamW. */
  readonly moments: number;
  /** The moving average of the weights, where one is kept. */
  readonly average: number;
  /** Those of every engine, and their sum where several micro-batches are added up; link by link, those of one link. */
  readonly gradients: number;
  /** What the gradient of one micro-batch keeps of its forward pass, and works with. */
  readonly activations: number;
  /** The new state of what is updated at once: it is written over the old one, and comes back beside it. */
  readonly update: number;
  /**
   * The most at one time. Activations are gone before an update of everything; link by link there is one beside them, and
   * what then is larger is the copy of the state that is saved.
   */
  readonly peak: number;
};

export type TrainingSize = {
  /** Trained values. */
  readonly parameters: number;
  readonly average: boolean;
  /** Clips that go through the engine at once. */
  readonly batch: number;
  /** Micro-batches of a step. */
  readonly microBatches: number;
  /** Engines that work on micro-batches at the same time (1), each with weights and activations of its own. */
  readonly engines?: number;
  /** Bytes for so many clips at once, from `transformerActivations` or `vaeActivations`. */
  readonly activations: (clips: number) => number;
  /** Bytes of what else a micro-batch holds: weights widened or rounded for it. */
  readonly copies?: number;
  /** Trained values of the largest link, where a step of one micro-batch goes link by link, see `goesByLink`. */
  readonly largestLink?: number;
  /** What a recipe could say instead, and what that would change here. */
  readonly alternatives?: readonly { readonly change: string; readonly size: Partial<TrainingSize> }[];
};

export function trainingMemory(size: TrainingSize): TrainingMemory {
  const all = FLOAT * size.parameters;
  const state = all * rolesOf(size).length;
  const engines = Math.min(size.engines ?? 1, size.microBatches);
  const link = size.microBatches === 1 ? size.largestLink : undefined;
  const atOnce = FLOAT * (link ?? size.parameters);
  const gradients = atOnce * (size.microBatches > 1 ? engines + 1 : 1);
  const update = atOnce * rolesOf(size).length;
  const activations = engines * (size.activations(size.batch) + (size.copies ?? 0));
  const fixed = ENGINE * engines + all * (engines - 1) + state;
  return {
    weights: all,
    moments: 2 * all,
    average: size.average ? all : 0,
    gradients,
    activations,
    update,
    peak:
      fixed +
      (link === undefined
        ? Math.max(gradients + activations, all + update)
        : Math.max(gradients + activations + update, state)),
  };
}

/** What a transformer sees at once: clips of one size, or a packed row. */
export type TokenCounts = {
  /** Tokens of all samples, text included. */
  readonly tokens: number;
  /** Tokens of the samples that attention sees at once: a batch of one size goes through it together, a row apart. */
  readonly attended: { readonly samples: number; readonly tokens: number };
};

/**
 * Bytes of activations of a micro-batch through a transformer that is differentiated as one graph. Per
 * token of the joint sequence and block, 20 times the width is kept: each stream before both norms and after them (4),
 * queries and keys before their norms and after them (4), values (1), what attention and what its projection gives (2),
 * the widened feed-forward before and after its activation (8), and its result (1). Gradients that wait for those of
 * the weights to be computed take about 4 more. Then come 4 times the width once, and the tiles of attention, which have
 * a size of their own, or the gradients on their way through a feed-forward. With recompute, one block keeps that much,
 * and the others what passes between them.
 */
export function transformerActivations(
  { layers, heads, width }: TransformerConfig,
  { tokens, attended }: TokenCounts,
  { recompute = false } = {},
): number {
  const values = tokens * width;
  const scores = TILES * Math.min(TILE_SCORES, attended.samples * heads * attended.tokens ** 2);
  const kept = recompute ? 24 + layers : 24 * layers;
  return FLOAT * (values * (kept + 4) + Math.max(scores, 3 * 4 * values));
}

/**
 * Bytes of activations of `captions` texts of `length` tokens through a text encoder that learns: by layer 4 times its
 * width (the stream before and after both norms), 4 times that of its heads, and 4 times that of its feed-forward.
 */
export function textActivations(
  { layers, width, heads, headDim, hidden }: T5Config,
  captions: number,
  length: number,
): number {
  const inLayer = length * 4 * (width + heads * headDim + hidden);
  const scores = Math.min(TILE_SCORES, captions * heads * length ** 2);
  return FLOAT * (captions * layers * inLayer + TILES * scores);
}

/**
 * Bytes of activations for one clip `[T, 3, H, W]` of pixels through the VAE, encoder and decoder differentiated as one
 * graph. A residual block keeps what arrives, what its norms give, before and after their activation, and what its
 * convolutions see, for the channels on both of its sides: 4.5 values for each in the encoder; in the decoder, whose
 * norms are steered by the latents, 4.8. Kernels in the order of their use are left out, which count in tiny clips.
 */
export function vaeActivations(
  config: VaeConfig,
  { frames, height, width }: { readonly frames: number; readonly height: number; readonly width: number },
): number {
  const { channels, layers, temporalLevels, inChannels } = config;
  const last = channels.length - 1;
  const places = (level: number, halvings: number) =>
    (((frames - 1) / 2 ** Math.max(0, Math.min(halvings, temporalLevels)) + 1) * height * width) / 4 ** level;
  const blocks = (count: number, from: number, to: number) => from + to + (count - 1) * 2 * to;
  let encoder = blocks(2, channels[last], channels[last]) * places(last, last);
  let decoder = encoder;
  let between = 0;
  for (const [level, own] of channels.entries()) {
    // Time is halved at the finest levels first, and doubled at the coarsest ones first.
    const [encoded, decoded] = [places(level, level), places(level, temporalLevels - (last - level))];
    const coarser = channels[Math.min(last, level + 1)];
    encoder += encoded * blocks(layers, channels[Math.max(0, level - 1)], own);
    decoder += decoded * blocks(layers + 1, coarser, own);
    if (level < last) between += (encoded / 2) * own + decoded * coarser;
  }
  // Before the first convolution and behind the last one: pixels, and the finest level once activated.
  const ends = places(0, 0) * (4 * channels[0] + 2 * inChannels);
  return FLOAT * (4.5 * encoder + 4.8 * decoder + between + ends);
}

/** Null where a run fits, else a sentence that says what it takes, what there is, and what would fit. */
export function memoryObstacle(size: TrainingSize, available = availableMemory()): string | null {
  const { peak } = trainingMemory(size);
  if (peak <= available) return null;
  const missing = `training takes about ${bytesText(peak)} of memory, and ${bytesText(available)} are free`;
  const ways = [...smallerBatch(size, available), ...withChange(size, available)];
  if (ways.length > 0) return `${missing}; ${ways.join(", or ")}`;
  const fixed = trainingMemory({ ...size, batch: 0 });
  if (fixed.peak > available)
    return (
      `${missing}; the weights and the optimiser's state alone take ${bytesText(fixed.peak)}: ` +
      "train fewer parameters, or on a machine with more memory"
    );
  return (
    `${missing}; one clip alone takes ${bytesText(size.activations(1))} besides ${bytesText(fixed.peak)}: ` +
    "choose fewer frames or a smaller resolution"
  );
}

function smallerBatch(size: TrainingSize, available: number): string[] {
  const batch = largestBatch(size, available);
  if (batch === 0) return [];
  return [
    `micro-batches of ${batch} instead of ${size.batch} would fit, ` +
      `${Math.ceil((size.batch * size.microBatches) / batch)} of them a step for the same numbers`,
  ];
}

/** The first of the alternatives that fits, if need be with smaller micro-batches, but larger ones than without it. */
function withChange({ alternatives = [], ...size }: TrainingSize, available: number): string[] {
  const unchanged = largestBatch(size, available);
  const ways = alternatives.flatMap(({ change, size: changes }) => {
    const changed = { ...size, ...changes };
    const { peak } = trainingMemory(changed);
    if (peak <= available) return [`${change} would fit with ${bytesText(peak)}`];
    const batch = largestBatch(changed, available);
    return batch > unchanged ? [`${change} with micro-batches of ${batch} would fit`] : [];
  });
  return ways.slice(0, 1);
}

/** The most clips that fit at once, with as many micro-batches as the same clips then need; 0 when none does. */
function largestBatch(size: TrainingSize, available: number): number {
  const clips = size.batch * size.microBatches;
  const fits = (batch: number) => {
    const microBatches = Math.ceil(clips / batch);
    return trainingMemory({ ...size, batch, microBatches }).peak <= available;
  };
  let [known, tooMany] = [0, size.batch];
  while (tooMany - known > 1) {
    const middle = Math.floor((known + tooMany) / 2);
    if (fits(middle)) known = middle;
    else tooMany = middle;
  }
  return known;
}

function bytesText(bytes: number): string {
  const gib = bytes / 2 ** 30;
  return gib >= 1 ? `${gib.toFixed(1)} GiB` : `${Math.ceil(bytes / 2 ** 20)} MiB`;
}
