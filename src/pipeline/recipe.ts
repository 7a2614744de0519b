/** @file The recipe of a clip: everything needed to make it again. It is embedded in the files that are written. */
import type { Checkpoint } from "./checkpoint.ts";
import { clipSize, SPATIAL_RATIO, trainedFps } from "./clip-size.ts";
import type { PipelineEvent } from "./events.ts";
import { defaults, type TextToVideoOptions } from "./text-to-video-options.ts";
import { version } from "./version.ts";

/** A JSON object; which fields it has depends on how the clip was made. */
export type Recipe = Readonly<Record<string, unknown>>;

/**
 * What a run says first: the size of its frames, the rate they play at, and its recipe.
 * @throws ConfigError for a size the checkpoint cannot make
 */
export function startOf(
  checkpoint: Checkpoint,
  options: TextToVideoOptions,
): Extract<PipelineEvent, { kind: "started" }> {
  const { config } = checkpoint.transformer;
  const { latents } = options;
  const [height, width] = latents?.shape.slice(-2) ?? [];
  const onlyDecodes = options.steps === 0 && latents !== undefined;
  const size = onlyDecodes
    ? { width: width * SPATIAL_RATIO, height: height * SPATIAL_RATIO }
    : clipSize(config, options);
  const recipe = { ...recipeOf(checkpoint, options), ...size, ...(latents ? { latents: "given" } : {}) };
  return { kind: "started", width: size.width, height: size.height, fps: trainedFps(config), recipe };
}

function recipeOf(checkpoint: Checkpoint, options: TextToVideoOptions): Recipe {
  return {
    software: "cogvideox",
    version: version(),
    aiGenerated: true,
    mode: "text-to-video",
    model: checkpoint.folder,
    prompt: options.prompt,
    negativePrompt: options.negativePrompt ?? defaults.negativePrompt,
    steps: options.steps ?? defaults.steps,
    guidance: options.guidance ?? defaults.guidance,
    dynamicGuidance: options.dynamicGuidance ?? false,
    tiling: options.tiling ?? false,
    scheduler: options.scheduler ?? checkpoint.scheduler.className,
    seed: Number(options.seed ?? defaults.seed),
  };
}
