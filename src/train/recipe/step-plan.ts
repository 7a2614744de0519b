/** @file Which clips a step of the transformer takes, cut to which sizes, at which timesteps, in which micro-batches. */
import { packSamples } from "../diffusion/frame-pack/packing.ts";
import { imagesInBatch } from "../diffusion/joint-images.ts";
import { drawUniform, rngFor } from "../diffusion/random.ts";
import { trainingTimesteps } from "../diffusion/timesteps.ts";
import { type ClipSize, sizeKey } from "./clip-size.ts";
import type { PackRecipe, Recipe, TransformerStageRecipe } from "./schema.ts";

/** One clip of a step. */
export type PlannedSample = {
  /** Its number among the clips of the step. */
  readonly place: number;
  readonly size: ClipSize;
  readonly timestep: number;
};

/** What plans follow from, beside the step. */
export type StepPlanSetting = {
  readonly stage: Pick<TransformerStageRecipe, "batch" | "accumulate" | "imageShare" | "pack">;
  readonly timesteps: Recipe["transformer"]["timesteps"];
  /** Size of the clips of the stage that are not packed. */
  readonly largest: ClipSize;
  /** Tokens of a clip, text included. */
  readonly tokensOf: (size: ClipSize) => number;
  readonly seed: number;
  /** Size of the clip at a place of the step, where clips of packed stages have sizes of their own. */
  readonly ownSize?: (place: number) => ClipSize;
};

/** All sizes that a stage takes clips in. */
export function sizesOf({ pack, imageShare }: StepPlanSetting["stage"], largest: ClipSize): ClipSize[] {
  const sizes = pack?.sizes ?? [largest];
  const all = imageShare > 0 ? [...sizes, ...sizes.map(asImage)] : sizes;
  return [...new Map(all.map((size) => [sizeKey(size), size])).values()];
}

/** The micro-batches of a global step: a function of the seed and the step alone. */
export function planStep(setting: StepPlanSetting, step: number): PlannedSample[][] {
  const { stage, seed, timesteps: method } = setting;
  const { batch, accumulate } = stage;
  const draws = { seed, step, rank: 0, world: 1, batch, accumulation: accumulate, method };
  const timesteps = trainingTimesteps(draws);
  const sizes = stage.pack === undefined ? ofMicroBatches(setting, step) : ofRows(setting, stage.pack, step);
  const samples = sizes.map((size, place) => ({ place, size, timestep: timesteps[place] }));
  if (stage.pack !== undefined) return packed(setting, stage.pack, samples);
  return Array.from({ length: accumulate }, (_, part) => samples.slice(part * batch, (part + 1) * batch));
}

/** A micro-batch is of one size: images or clips. */
function ofMicroBatches({ stage, largest, seed }: StepPlanSetting, step: number): ClipSize[] {
  const images = imagesInBatch({ seed, step, share: stage.imageShare }, stage.accumulate);
  return images.flatMap((isImage) => Array<ClipSize>(stage.batch).fill(isImage ? asImage(largest) : largest));
}

function ofRows({ stage, seed, ownSize }: StepPlanSetting, { sizes }: PackRecipe, step: number): ClipSize[] {
  const count = stage.batch * stage.accumulate;
  const images = imagesInBatch({ seed, step, share: stage.imageShare }, count);
  return images.map((isImage, place) => {
    const drawn = () => sizes[Math.floor(drawUniform(rngFor(seed, "clip size", step, place)) * sizes.length)];
    const size = ownSize?.(place) ?? drawn();
    return isImage ? asImage(size) : size;
  });
}

/** Rows of the same sizes have them in one order, so that they share a graph. */
function packed(
  { tokensOf, stage }: StepPlanSetting,
  { capacity, window = stage.batch * stage.accumulate }: PackRecipe,
  samples: readonly PlannedSample[],
): PlannedSample[][] {
  const tokens = samples.map(({ size }) => tokensOf(size));
  const order = (a: number, b: number) =>
    tokens[b] - tokens[a] ||
    samples[b].size.frames - samples[a].size.frames ||
    samples[b].size.height - samples[a].size.height ||
    samples[b].size.width - samples[a].size.width ||
    a - b;
  return packSamples(tokens, { capacity, window }).map((row) => row.toSorted(order).map((i) => samples[i]));
}

function asImage(size: ClipSize): ClipSize {
  return { ...size, frames: 1 };
}
