/** @file Progressive training: stages of growing size, and which of them a step belongs to. */
import { z } from "zod";
import { ConfigError } from "../../errors.ts";
import { drawUniform, rngFor } from "./random.ts";

const count = z.int().positive();
const stageSchema = z.strictObject({
  steps: count,
  shortSide: count.optional(),
  height: count.optional(),
  width: count.optional(),
  frames: count,
  batch: count,
  learningRate: z.number().positive().optional(),
  imageShare: z.number().min(0).max(1).default(0),
  positions: z.enum(["checkpoint", "extrapolate", "interpolate"]).default("checkpoint"),
});

/**
 * One stage of a training. The size is either `shortSide` with the proportions of each clip kept, or `height` and
 * `width` for all of them, in pixels; `frames` is the longest clip in pixel frames. `positions` as for `stageRotary`.
 */
export type Stage = Readonly<z.infer<typeof stageSchema>>;

/** Where a global step stands in the stages. */
export type StagePosition = {
  readonly stage: Stage;
  readonly index: number;
  /** Global step at which the stage begins. */
  readonly firstStep: number;
  /** Steps of this stage that are done: the global step less `firstStep`. */
  readonly stepInStage: number;
};

/**
 * Reads a list of stages, as a training configuration holds it.
 * @throws ConfigError naming `source`, the stage, the field and its value
 */
export function parseStages(json: unknown, source: string): Stage[] {
  const result = z.array(stageSchema).min(1).safeParse(json);
  if (!result.success) {
    const { path, message } = result.error.issues[0];
    throw new ConfigError(`${source}: stages${path.map((key) => `[${String(key)}]`).join("")}: ${message}`);
  }
  for (const [i, stage] of result.data.entries()) checkSize(stage, `${source}: stages[${i}]`);
  return result.data;
}

function checkSize({ shortSide, height, width, frames }: Stage, where: string): void {
  const isBox = height !== undefined && width !== undefined;
  if (isBox === (shortSide !== undefined) || (height === undefined) !== (width === undefined))
    throw new ConfigError(
      `${where} must have either shortSide or both height and width, ` +
        `got shortSide ${shortSide}, height ${height}, width ${width}`,
    );
  for (const [name, value] of Object.entries({ shortSide, height, width }))
    if (value !== undefined && value % 16 !== 0)
      throw new ConfigError(`${where}: ${name} must be a multiple of 16, got ${value}`);
  if (frames % 4 !== 1)
    throw new ConfigError(`${where}: frames must be 4k + 1 (1, 5, ..., 49, ..., 81), got ${frames}`);
}

/**
 * The stage of a global step from 0; null behind the last stage, where training is over.
 * @throws ConfigError when the step is not a whole number from 0
 */
export function stageAt(stages: readonly Stage[], step: number): StagePosition | null {
  if (!Number.isInteger(step) || step < 0)
    throw new ConfigError(`step must be a whole number from 0, got ${step}`);
  let firstStep = 0;
  for (const [index, stage] of stages.entries()) {
    const stepInStage = step - firstStep;
    if (stepInStage < stage.steps) return { stage, index, firstStep, stepInStage };
    firstStep += stage.steps;
  }
  return null;
}

/** Steps of all stages together. */
export function totalSteps(stages: readonly Stage[]): number {
  return stages.reduce((sum, { steps }) => sum + steps, 0);
}

/**
 * Which of the `size` samples of a step are images (true) in joint training. Their number is `share · size`, rounded up
 * or down at random so that it is right on average; which samples they are changes from step to step.
 */
export function imagesInBatch(
  { seed, step, share }: { readonly seed: number; readonly step: number; readonly share: number },
  size: number,
): boolean[] {
  const rng = rngFor(seed, "images in batch", step);
  const images = Math.floor(share * size + drawUniform(rng));
  const order = Array.from({ length: size }, (_, i) => ({ i, key: drawUniform(rng) }));
  order.sort((a, b) => a.key - b.key);
  const chosen = new Set(order.slice(0, images).map(({ i }) => i));
  return Array.from({ length: size }, (_, i) => chosen.has(i));
}
