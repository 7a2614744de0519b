/** @file How a transformer fares on clips that training never shows: losses at fixed timesteps, with fixed noise. */
// F latent frames, C channels, H and W latent height and width
import { drawNormals } from "../../diffusion/noise.ts";
import { latentsFrom } from "../../diffusion/posterior.ts";
import { CancelledError } from "../../errors.ts";
import { rngFor } from "../diffusion/random.ts";
import type { Learner, MicroBatch } from "../learner.ts";
import { mean } from "../mean.ts";
import type { ClipSize } from "./clip-size.ts";
import type { ClipSource } from "./clips.ts";
import type { Conditioner } from "./conditioner.ts";
import type { LatentSet } from "./latent-set.ts";
import type { Validated } from "./trainee.ts";
import type { FixedBatches, FixedSample } from "./transformer-graphs.ts";

/** Clips that training never shows, and what is measured with them. */
export type HeldOut = {
  readonly clips: ClipSource;
  /** All of them at the size of the stage's largest clips. */
  readonly latents: LatentSet;
  readonly size: ClipSize;
  /** For models that see more than the text. */
  readonly conditioner: Conditioner | null;
  /** Timesteps that every clip is measured at. */
  readonly timesteps: number;
  /** Of noise and posteriors. */
  readonly seed: number;
};

/** What turns captions and samples into what a stage's graph takes. */
export type ValidationInputs = {
  readonly batches: FixedBatches;
  readonly scalingFactor: number;
  /** Timesteps of the schedule. */
  readonly scheduled: number;
  /** Token ids `[T]`, or text states `[T, D]`. */
  readonly textOf: (caption: string) => Int32Array | Float32Array | Promise<Float32Array>;
};

/**
 * Losses of the averaged weights. Clips, timesteps and noise depend on `heldOut` alone, so that they compare between
 * steps, stages of one size, and recipes.
 * @throws CancelledError between batches when `signal` fires
 */
export async function validate(
  heldOut: HeldOut,
  inputs: ValidationInputs,
  learner: Learner,
  signal: AbortSignal,
): Promise<Validated> {
  const timesteps = evenTimesteps(heldOut.timesteps, inputs.scheduled);
  const reports = await learner.evaluateAverage(batchesOf(heldOut, inputs, timesteps, signal));
  const all = reports.flatMap(({ perSample }) => [...(perSample.data as Float32Array)]);
  // The last batch may be filled up behind the last sample.
  const losses = all.slice(0, heldOut.latents.count * timesteps.length);
  const byTimestep = timesteps.map((timestep, place) => {
    const own = losses.filter((_, i) => i % timesteps.length === place);
    return { timestep, loss: mean(own) };
  });
  return { loss: mean(losses), byTimestep };
}

/** The middles of `count` equal parts of the schedule. */
export function evenTimesteps(count: number, scheduled: number): number[] {
  return Array.from({ length: count }, (_, i) => Math.floor(((i + 0.5) * scheduled) / count));
}

async function* batchesOf(
  heldOut: HeldOut,
  inputs: ValidationInputs,
  timesteps: readonly number[],
  signal: AbortSignal,
): AsyncGenerator<MicroBatch> {
  const { batches } = inputs;
  let waiting: FixedSample[] = [];
  for (let index = 0; index < heldOut.latents.count; index++)
    for (const sample of await samplesOf(heldOut, inputs, timesteps, index)) {
      waiting.push(sample);
      if (waiting.length < batches.size) continue;
      if (signal.aborted) throw new CancelledError(`stopped measuring before held-out clip ${index + 1}`);
      yield batches.of(waiting);
      waiting = [];
    }
  if (waiting.length > 0) yield batches.of(waiting);
}

/** One clip at every timestep, each with noise of its own. */
async function samplesOf(
  { clips, latents, size, conditioner, seed }: HeldOut,
  { batches, scalingFactor, textOf }: ValidationInputs,
  timesteps: readonly number[],
  index: number,
): Promise<FixedSample[]> {
  const posterior = rngFor(seed, "posterior of a held-out clip", index);
  const [frames, ...frame] = batches.noise;
  const conditions = await conditioner?.latents(0, [{ place: index, index, size, frames }]);
  const clip = {
    latents: latentsFrom(await latents.moments(index), posterior, scalingFactor),
    text: await textOf(clips.caption(index)),
    condition: conditions?.[0],
  };
  const values = frame.reduce((product, size) => product * size, frames);
  return timesteps.map((timestep) => {
    const rng = rngFor(seed, "noise of a held-out clip", index, timestep);
    return { ...clip, timestep, noise: drawNormals(rng, values) };
  });
}
