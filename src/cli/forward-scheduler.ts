/** @file The scheduler of a checkpoint as parts of `cogvideox forward`: a sampler on given predictions, and noise. */
import { addNoise, createRng, velocity } from "../diffusion/noise.ts";
import { type Sampler, type SamplerState, type SamplingPlan, startRun } from "../diffusion/sampler.ts";
import { type SamplerChoice, samplerFor } from "../diffusion/sampler-for.ts";
import { noiseSchedule } from "../diffusion/schedule.ts";
import { type Discretisation, discretisations } from "../diffusion/timesteps.ts";
import { ConfigError } from "../errors.ts";
import { sameShape, showShape, sizeOf } from "../graph/shape.ts";
import { readScheduler } from "../pipeline/checkpoint.ts";
import { defaults } from "../pipeline/generate-options.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import { broadcast, type Inputs, needFloats } from "./forward-inputs.ts";
import type { OptionTable, OptionValues } from "./options.ts";

/** Options of the sampler. */
export const samplerOptions = {
  scheduler: {
    kind: "text",
    choices: ["ddim", "dpm", "inverse"],
    about: "sampler: which (the checkpoint's own)",
  },
  steps: { kind: "integer", about: "sampler: steps of the whole run, 1 to 1000 (50)" },
  seed: { kind: "integer", about: "sampler: seed of what dpm draws (0)" },
  parity: {
    kind: "flag",
    about: "sampler: repeat the reference's defects where the steps do not divide 1000",
  },
  discretisation: {
    kind: "text",
    choices: discretisations,
    about: "sampler: whose noise levels the steps visit (diffusers)",
  },
} as const satisfies OptionTable;

/** A part that needs no engine: the checkpoint's folder, its inputs, and options. */
export type SchedulerJob = {
  readonly folder: string;
  readonly inputs: Inputs;
  readonly values: OptionValues<typeof samplerOptions>;
};

/**
 * The first steps of a run, one for each of the predictions `model_output [N, ...]` that are given: latents
 * `samples [N, ...]` after each of them, and the `timesteps` of all steps. Without predictions there are timesteps alone,
 * so that a caller with a model of its own goes from step to step.
 */
export async function runSampler({
  folder,
  inputs,
  values,
}: SchedulerJob): Promise<Record<string, HostTensor>> {
  const { scheduler, steps = defaults.steps, seed = defaults.seed, parity } = values;
  const discretisation = values.discretisation as Discretisation | undefined;
  const sampler = samplerFor(await readScheduler(folder), scheduler as SamplerChoice | undefined);
  const plan = sampler.prepare(steps, { parity, discretisation });
  const timesteps = floats([steps], Float32Array.from(plan.timesteps));
  if (inputs.size === 0) return { timesteps };
  const sample = needFloats(inputs, "sample");
  const { data, shape } = needFloats(inputs, "model_output");
  if (!sameShape(shape.slice(1), sample.shape) || shape[0] > steps)
    throw new ConfigError(
      `the input model_output must be at most ${steps} predictions of ${showShape(sample.shape)} with an axis for the ` +
        `steps before, got ${showShape(shape)}`,
    );
  return {
    timesteps,
    samples: floats(shape, stepped(sampler, plan, startRun(sample.data, createRng(seed)), data)),
  };
}

/** Latents after each step, one after the other. */
function stepped(
  sampler: Sampler,
  plan: SamplingPlan,
  start: SamplerState,
  predictions: Float32Array,
): Float32Array {
  const { length } = start.latents;
  const samples = new Float32Array(predictions.length);
  let state = start;
  for (let at = 0; at < predictions.length; at += length) {
    state = sampler.step(plan, state, predictions.subarray(at, at + length));
    samples.set(state.latents, at);
  }
  return samples;
}

/** The forward process of training: `noisy_samples` at each sample's `timestep`, and the `velocity` to predict there. */
export async function runAddNoise({ folder, inputs }: SchedulerJob): Promise<Record<string, HostTensor>> {
  const schedule = noiseSchedule(await readScheduler(folder));
  const { shape, data: clean } = needFloats(inputs, "original_samples");
  const { data: noise, shape: other } = needFloats(inputs, "noise");
  if (!sameShape(shape, other))
    throw new ConfigError(
      `the input noise must be ${showShape(shape)} like original_samples, got ${showShape(other)}`,
    );
  const size = sizeOf(shape.slice(1));
  const noisy = new Float32Array(clean.length);
  const target = new Float32Array(clean.length);
  for (const [i, timestep] of broadcast(inputs, "timestep", shape[0]).entries()) {
    const [from, to] = [i * size, (i + 1) * size];
    const sample = [clean.subarray(from, to), noise.subarray(from, to)] as const;
    noisy.set(addNoise(schedule, ...sample, timestep), from);
    target.set(velocity(schedule, ...sample, timestep), from);
  }
  return { noisy_samples: floats(shape, noisy), velocity: floats(shape, target) };
}

function floats(shape: readonly number[], data: Float32Array): HostTensor {
  return { dtype: "f32", shape, data };
}
