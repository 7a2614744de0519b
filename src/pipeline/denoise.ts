/** @file The denoising loop: one evaluation of the transformer and one step of the sampler at a time. */
import { type Guidance, isGuided, isGuidedAt } from "../diffusion/guidance.ts";
import { type GuidedPrediction, guidedPrediction, isZeroStep } from "../diffusion/guided-prediction.ts";
import type { Sampler, SamplerState, SamplingPlan } from "../diffusion/sampler.ts";
import { addStg, type SpatioTemporalGuidance } from "../diffusion/stg.ts";
import { ConfigError } from "../errors.ts";
import { sizeOf } from "../graph/shape.ts";
import { OFS } from "../models/transformer/timestep.ts";
import type { Variation } from "../models/transformer/variation.ts";
import type { HostTensor, ResidentRef } from "../runtime/protocol.ts";
import { joinChannels, stackSamples } from "./clip-layout.ts";
import type { Predictor } from "./denoiser.ts";
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

/** The model with the hidden states that it is given. */
export type PromptedDenoiser = {
  readonly denoiser: Predictor;
  /** Hidden states `[rows, T, textDim]` in the order of `rowsOf`. */
  readonly text: HostTensor | ResidentRef;
};

/** All that does not change from step to step. */
export type DenoiseRun = Conditions &
  PromptedDenoiser & {
    readonly sampler: Sampler;
    readonly plan: SamplingPlan;
    /** For the rows of `unguided`; needed where guidance has an interval. */
    readonly unguided?: PromptedDenoiser;
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

/** The conditions of steps outside the guidance interval. */
export function unguided(conditions: Conditions): Conditions {
  return { ...conditions, guidance: { scale: 1 }, stg: null };
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
    const { prediction, momentum } = await predict(at(run, current), current, hooks);
    current = { ...sampler.step(plan, current, prediction), ...(momentum ? { momentum } : {}) };
    yield current;
  }
}

/** The run as one step sees it: guided or not. */
function at(run: DenoiseRun, { step }: SamplerState): DenoiseRun {
  const { guidance, plan } = run;
  if (!isGuided(guidance) || isGuidedAt(guidance, { step, numSteps: plan.timesteps.length })) return run;
  assertUnguided(run.unguided);
  return { ...run, ...unguided(run), ...run.unguided };
}

function assertUnguided(given: PromptedDenoiser | undefined): asserts given is PromptedDenoiser {
  if (given === undefined)
    throw new ConfigError(
      "guidance has an interval, but there is no model for the steps outside; give `unguided`",
    );
}

/** The prediction that the sampler steps with: the model's at the state's timestep, guided in float32. */
async function predict(run: DenoiseRun, state: SamplerState, hooks: RunHooks): Promise<GuidedPrediction> {
  const { plan, guidance, shape, stg } = run;
  const count = sizeOf(shape);
  if (isZeroStep(guidance, plan, state.step)) return { prediction: new Float32Array(count) };
  const predicted = await evaluate(run, state, hooks);
  const [first, second, third] = rowsOf(run).map((_, i) => predicted.subarray(i * count, (i + 1) * count));
  if (!isGuided(guidance)) return { prediction: first };
  const guided = guidedPrediction(guidance, plan, state, { unconditional: first, conditional: second });
  return stg ? { ...guided, prediction: addStg(guided.prediction, second, third, stg) } : guided;
}

/** What the model says at the state's timestep, one row after the other. */
async function evaluate(
  run: DenoiseRun,
  { latents, step }: SamplerState,
  hooks: RunHooks,
): Promise<Float32Array> {
  const { denoiser, plan, text, shape, condition } = run;
  const rows = rowsOf(run);
  const clips = rows.map(({ role }) => (role === "reference" ? run.reference![step] : latents));
  const inputs = {
    latents: stackSamples(clips.map((clip) => sampleOf(clip, shape, condition))),
    text,
    timestep: Array(rows.length).fill(plan.timesteps[step]),
    step,
    ofs: Array(rows.length).fill(OFS),
  };
  return (await denoiser.predict(inputs, hooks)).data as Float32Array;
}

/** One row of the batch, `[F, C + C', h, w]`. */
function sampleOf(data: Float32Array, shape: readonly number[], condition?: HostTensor): HostTensor {
  const joined = joinChannels({ dtype: "f32", shape, data }, condition);
  return { ...joined, shape: joined.shape.slice(1) };
}
