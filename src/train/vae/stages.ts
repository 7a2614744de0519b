/** @file The two stages that a VAE is trained in, and what every step of them trains on. */
import { z } from "zod";
import { ConfigError } from "../../errors.ts";
import type { VaeConfig } from "../../models/vae/config.ts";
import { imagesInBatch } from "../diffusion/joint-images.ts";
import { drawUniform, rngFor } from "../diffusion/random.ts";
import { clipRule, comesBack } from "./loss.ts";

const count = z.int().positive();
const stageSchema = z.strictObject({
  steps: count,
  frames: count,
  height: count,
  width: count,
  batch: count,
  frameRates: z.array(z.number().positive()).min(1).default([8, 16]),
  imageShare: z.number().min(0).max(1).default(0),
  learningRate: z.number().positive().default(1e-4),
});

/**
 * One stage: clips of one size in pixels, at one of `frameRates` in frames per second drawn for each, with a share of
 * `imageShare` images among them. `batch` is in samples; each goes through the graph of its length.
 */
export type VaeStage = Readonly<z.infer<typeof stageSchema>>;

/**
 * The stages of CogVideoX (paper, section 2.1): 17 frames of 256 x 256 pixels at 8 or 16 frames per second, then the
 * same with 161 frames, as the model carries over to larger pictures by itself but not to longer clips. What is not
 * published is our choice: steps, batches, rates, the share of images. A graph of 161 frames with its gradient wants
 * hundreds of gigabytes at the released channel counts; shorten it for one machine.
 */
export const releasedVaeStages: readonly VaeStage[] = [
  {
    steps: 200_000,
    frames: 17,
    height: 256,
    width: 256,
    batch: 64,
    frameRates: [8, 16],
    imageShare: 0.2,
    learningRate: 1e-4,
  },
  {
    steps: 20_000,
    frames: 161,
    height: 256,
    width: 256,
    batch: 16,
    frameRates: [8, 16],
    imageShare: 0.2,
    learningRate: 1e-5,
  },
];

/**
 * Reads a list of stages, as a training configuration holds it, and checks that their clips come back whole.
 * @throws ConfigError naming `source`, the stage, the field and its value
 */
export function parseVaeStages(json: unknown, config: VaeConfig, source: string): VaeStage[] {
  const result = z.array(stageSchema).min(1).safeParse(json);
  if (!result.success) {
    const { path, message } = result.error.issues[0];
    throw new ConfigError(`${source}: stages${path.map((key) => `[${String(key)}]`).join("")}: ${message}`);
  }
  for (const [i, { frames, height, width }] of result.data.entries())
    if (!comesBack([frames, config.inChannels, height, width], config))
      throw new ConfigError(
        `${source}: stages[${i}]: clips must be ${clipRule(config)}, ` +
          `got ${frames} frames of ${width} x ${height} pixels`,
      );
  return result.data;
}

/** What one sample of a step is: an image is a clip of one frame. */
export type VaeSamplePlan = { readonly frames: number; readonly frameRate: number };

/** What one step trains on. */
export type VaeStepPlan = {
  readonly stage: VaeStage;
  readonly index: number;
  /** Steps of this stage that are done. */
  readonly stepInStage: number;
  readonly samples: readonly VaeSamplePlan[];
};

/** The plan of a global step from 0, a function of seed and step; null when all stages are done. */
export function planVaeStep(stages: readonly VaeStage[], seed: number, step: number): VaeStepPlan | null {
  let firstStep = 0;
  for (const [index, stage] of stages.entries()) {
    const stepInStage = step - firstStep;
    if (stepInStage < stage.steps)
      return { stage, index, stepInStage, samples: samplesOf(stage, seed, step) };
    firstStep += stage.steps;
  }
  return null;
}

function samplesOf(
  { batch, imageShare, frames, frameRates }: VaeStage,
  seed: number,
  step: number,
): VaeSamplePlan[] {
  return imagesInBatch({ seed, step, share: imageShare }, batch).map((isImage, i) => {
    const pick = Math.floor(drawUniform(rngFor(seed, "frame rate", step, i)) * frameRates.length);
    return { frames: isImage ? 1 : frames, frameRate: frameRates[pick] };
  });
}
