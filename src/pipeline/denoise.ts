/** @file The denoising loop: one evaluation of the transformer and one step of the sampler at a time. */
import { combineGuidance, type Guidance, guidanceWeight, isGuided } from "../diffusion/guidance.ts";
import type { Sampler, SamplerState, SamplingPlan } from "../diffusion/sampler.ts";
import { addStg, type SpatioTemporalGuidance } from "../diffusion/stg.ts";
import { sizeOf } from "../graph/shape.ts";
import type { Variation } from "../models/transformer/variation.ts";
import type { HostTensor, ResidentRef } from "../runtime/protocol.ts";
import { joinChannels, stackSamples } from "./clip-layout.ts";
import type { Denoiser } from "./denoiser.ts";
import type { RunHooks } from "./run-hooks.ts";

/** What the model is asked in every step besides the latents at hand. */
export type Conditions = {
  readonly guidance: Guidance;
  /** What the model sees behind the latents on the channel axis, `[1, F, C', h, w]`. */
  readonly condition?: HostTensor;
  /** Guidance away from the model with blocks left out; needs guidance. */
  readonly stg?: Required<SpatioTemporalGuidance> | null;
  /** Latents of another clip by step, which those of the run attend to. */
  readonly reference?: readonly Float32Array[];
};

export type DenoiseRun = Conditions & {
  readonly denoiser: Denoiser;
  readonly sampler: Sampler;
  readonly plan: SamplingPlan;
  /** Hidden states `[rows, T, textDim]` in the order of `rowsOf`. */
  readonly text: HostTensor | ResidentRef;
  /** Shape of the latents, `[1, F, C, h, w]` */
  readonly shape: readonly number[];
};

/** A row of the batch: which prompt it is given, and what it stands for. */
type Row = {
  readonly prompt: "negative" | "positive";
  readonly role: "main" | "perturbed" | "reference";
};

/** The rows of one evaluation along the batch axis, in the reference's order: without the prompt first. */
export function rowsOf({ guidance, stg, reference }: Conditions): readonly Row[] {
  const prompts = isGuided(guidance) ? (["negative", "positive"] as const) : (["positive"] as const);
  return [
    ...prompts.map((prompt) => ({ prompt, role: "main" as const })),
    ...(stg ? [{ prompt: "positive", role: "perturbed" } as const] : []),
    ...(reference ? prompts.map((prompt) => ({ prompt, role: "reference" as const })) : []),
  ];
}

/** How the model has to be varied for these conditions. */
export function variationOf(conditions: Conditions): Variation | undefined {
  if (conditions.reference) return { kind: "reference" };
  if (!conditions.stg) return undefined;
  const from = rowsOf(conditions).findIndex(({ role }) => role === "perturbed");
  return { kind: "skip", layers: conditions.stg.layers, from };
}

/** Steps from `state` to the end of the plan, yielding the state after each. */
export async function* denoise(
  run: DenoiseRun,
  state: SamplerState,
  hooks: RunHooks = {},
): AsyncGenerator<SamplerState> {
  const { sampler, plan } = run;
  let current = state;
  while (current.step < plan.timesteps.length) {
    const velocity = await predict(run, current, hooks);
    current = sampler.step(plan, current, velocity);
    yield current;
  }
}

/** The model's prediction at the state's timestep, with guidance applied in float32. */
async function predict(
  run: DenoiseRun,
  { latents, step }: SamplerState,
  hooks: RunHooks,
): Promise<Float32Array> {
  const { denoiser, plan, guidance, text, shape, condition, stg } = run;
  const rows = rowsOf(run);
  const timestep = plan.timesteps[step];
  const clips = rows.map(({ role }) => (role === "reference" ? run.reference![step] : latents));
  const inputs = {
    latents: stackSamples(clips.map((clip) => sampleOf(clip, shape, condition))),
    text,
    timestep: Array(rows.length).fill(timestep),
    ofs: Array(rows.length).fill(OFS),
  };
  const predicted = (await denoiser.predict(inputs, hooks)).data as Float32Array;
  const count = sizeOf(shape);
  const [first, second, third] = rows.map((_, i) => predicted.subarray(i * count, (i + 1) * count));
  if (!isGuided(guidance)) return first;
  const weight = guidanceWeight(guidance, plan.timesteps.length, timestep);
  const guided = combineGuidance(first, second, weight);
  return stg ? addStg(guided, second, third, stg) : guided;
}

/** The value that CogVideoX 1.5 image-to-video models take for `ofs`. */
const OFS = 2;

/** One row of the batch, `[F, C + C', h, w]`. */
function sampleOf(data: Float32Array, shape: readonly number[], condition?: HostTensor): HostTensor {
  const joined = joinChannels({ dtype: "f32", shape, data }, condition);
  return { ...joined, shape: joined.shape.slice(1) };
}
