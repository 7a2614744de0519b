/** @file The denoising loop: one evaluation of the transformer and one step of the sampler at a time. */
import { combineGuidance, type Guidance, guidanceWeight, isGuided } from "../diffusion/guidance.ts";
import type { Sampler, SamplerState, SamplingPlan } from "../diffusion/sampler.ts";
import { sizeOf } from "../graph/shape.ts";
import type { HostTensor, ResidentRef } from "../runtime/protocol.ts";
import { joinChannels } from "./clip-layout.ts";
import type { Denoiser } from "./denoiser.ts";
import type { RunHooks } from "./run-hooks.ts";

export type DenoiseRun = {
  readonly denoiser: Denoiser;
  readonly sampler: Sampler;
  readonly plan: SamplingPlan;
  readonly guidance: Guidance;
  /** Hidden states `[2, T, textDim]`, without the prompt first, or `[1, T, textDim]` without guidance. */
  readonly text: HostTensor | ResidentRef;
  /** Shape of the latents, `[1, F, C, h, w]` */
  readonly shape: readonly number[];
  /** What the model sees behind the latents on the channel axis in every step, `[1, F, C', h, w]`. */
  readonly condition?: HostTensor;
};

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
  const { denoiser, plan, guidance, text, shape, condition } = run;
  const copies = isGuided(guidance) ? 2 : 1;
  const timestep = plan.timesteps[step];
  const inputs = {
    latents: repeated(joinChannels({ dtype: "f32", shape, data: latents }, condition), copies),
    text,
    timestep: Array(copies).fill(timestep),
    ofs: Array(copies).fill(OFS),
  };
  const sample = (await denoiser.predict(inputs, hooks)).data as Float32Array;
  if (copies === 1) return sample;
  const count = sizeOf(shape);
  const weight = guidanceWeight(guidance, plan.timesteps.length, timestep);
  return combineGuidance(sample.subarray(0, count), sample.subarray(count), weight);
}

/** The value that CogVideoX 1.5 image-to-video models take for `ofs`. */
const OFS = 2;

/** The same sample `[1, ...]` `copies` times along the batch. */
function repeated({ shape: [, ...rest], data }: HostTensor, copies: number): HostTensor {
  const all = new Float32Array(data.length * copies);
  for (let i = 0; i < copies; i++) all.set(data as Float32Array, i * data.length);
  return { dtype: "f32", shape: [copies, ...rest], data: all };
}
