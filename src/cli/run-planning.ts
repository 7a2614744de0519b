/** @file Plans a job of the command line, before it starts or instead of it. */
import { ConfigError } from "../errors.ts";
import { clipSize, frameSize } from "../pipeline/clip-size.ts";
import { defaults } from "../pipeline/generate-options.ts";
import { needsNegative } from "../pipeline/guidance-options.ts";
import { type Fitting, fitRun } from "../pipeline/plan/fit.ts";
import { keptRates } from "../pipeline/plan/kept-rates.ts";
import { type PlannedModels, readModels } from "../pipeline/plan/models.ts";
import { type PlannedSource, type PlanRequest, sizeOfLatents } from "../pipeline/plan/run-plan.ts";
import { availableMemory, readMemory } from "../runtime/memory.ts";
import { engineOptions, type GenerateValues, requestOf } from "./generate-table.ts";
import type { PlannedMachine } from "./plan-report.ts";
import { precisionOf } from "./precision-option.ts";
import type { Job } from "./run-folder.ts";
import { readLatents } from "./tensor-files.ts";

/** A planned job, and what it was planned for. */
export type PlannedJob = { readonly fitting: Fitting; readonly machine: PlannedMachine };

/**
 * Plans all clips of a job for this machine as it is now.
 * @param model folder of the checkpoint
 * @throws ConfigError for what the checkpoint cannot do; WeightsError
 */
export async function planJob(job: Job, model: string, { mayTile = true } = {}): Promise<PlannedJob> {
  const models = await readModels(model);
  const request = await planRequest(job, models);
  const room = availableMemory() + readMemory().anonymous;
  const isSilent = job.values.tiling === undefined;
  const fitting = fitRun(models, request, { room, mayTile: mayTile && isSilent });
  return { fitting, machine: { room, rates: await keptRates(engineOptions(job.values)) } };
}

/** Whether a device has plans: they are of the processor's memory. */
export function isPlanned({ device = "cpu" }: GenerateValues): boolean {
  return device === "cpu";
}

/** @throws ConfigError on a device that has no plans */
export function requirePlanned(values: GenerateValues): void {
  if (!isPlanned(values))
    throw new ConfigError(
      `plans are of the processor's memory and time; leave --device ${values.device} out`,
    );
}

async function planRequest({ values, prompts, seeds }: Job, models: PlannedModels): Promise<PlanRequest> {
  const options = requestOf(values);
  const source = sourceOf(values);
  const { config } = models.transformer;
  const size =
    source === "latents"
      ? sizeOfLatents(config, (await readLatents(values.latents!)).shape)
      : // Of a video, as many frames are used as it has, and at most these.
        ["video", "control", "invert"].includes(source)
        ? { ...frameSize(config, options), frames: options.frames ?? config.sampleFrames }
        : clipSize(config, options);
  const read =
    new Set(prompts).size + (needsNegative(options, config) ? 1 : 0) + (source === "invert" ? 1 : 0);
  return {
    source,
    size,
    clips: prompts.length * seeds.length * (values.chain ?? 1),
    texts: values["prompt-states"] === undefined ? read : 0,
    strength: source === "video" ? (values.strength ?? 0.8) : undefined,
    tiling: options.tiling ?? false,
    precision: precisionOf(values),
    options: { ...options, steps: options.steps ?? defaults.steps },
  };
}

function sourceOf(values: GenerateValues): PlannedSource {
  if (values.steps === 0 && values.latents !== undefined) return "latents";
  if (values["start-image"] !== undefined || values["end-image"] !== undefined) return "inpaint";
  return (
    (["image", "video", "control", "invert"] as const).find((name) => values[name] !== undefined) ?? "prompt"
  );
}
