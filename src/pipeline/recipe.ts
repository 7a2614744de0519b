/** @file The recipe of a clip: everything needed to make it again. It is embedded in the files that are written. */
import type { Checkpoint } from "./checkpoint.ts";
import { trainedFps } from "./clip-size.ts";
import type { PipelineEvent } from "./events.ts";
import { defaults, type GenerateOptions, hasOwnStates } from "./generate-options.ts";
import { guidanceRecipe } from "./guidance-options.ts";
import { lorasOf } from "./lora.ts";
import { recipeModel } from "./model-name.ts";
import { storedPrecision } from "./precision.ts";
import { version } from "./version.ts";

/** A JSON object; which fields it has depends on how the clip was made. */
export type Recipe = Readonly<Record<string, unknown>>;

/** What a recipe says of a mode: its name, the size of its frames, and what only this mode has. */
export type RecipeOfMode = {
  readonly name: string;
  readonly size: { readonly width: number; readonly height: number; readonly frames?: number };
  readonly recipe?: Recipe;
};

/** What a run says first: the size of its frames, the rate they play at, and its recipe. */
export function startOf(
  checkpoint: Checkpoint,
  options: GenerateOptions,
  { name, size, recipe: own = {} }: RecipeOfMode,
): Extract<PipelineEvent, { kind: "started" }> {
  const latents = options.latents ? { latents: "given" } : {};
  const recipe = { ...recipeOf(checkpoint, options), mode: name, ...own, ...size, ...latents };
  const fps = trainedFps(checkpoint.transformer.config);
  return { kind: "started", width: size.width, height: size.height, fps, recipe };
}

function recipeOf(checkpoint: Checkpoint, options: GenerateOptions): Recipe {
  const precision = storedPrecision(checkpoint.transformer.weights);
  const loras = lorasOf(checkpoint.transformer.weights, options.loraScale);
  return {
    software: "cogvideox",
    version: version(),
    aiGenerated: true,
    mode: "text-to-video",
    model: recipeModel(checkpoint.folder),
    prompt: options.prompt,
    negativePrompt: options.negativePrompt ?? defaults.negativePrompt,
    ...(hasOwnStates(options) ? { promptStates: "given" } : {}),
    steps: options.steps ?? defaults.steps,
    ...guidanceRecipe(options, checkpoint.transformer.config),
    ...(options.stg ? { stg: options.stg } : {}),
    ...(loras.length > 0 ? { loras } : {}),
    ...(precision === "fp32" ? {} : { precision }),
    ...(options.cache ? { cache: options.cache } : {}),
    ...(options.longVideo ? { longVideo: options.longVideo } : {}),
    tiling: options.tiling ?? false,
    ...(checkpoint.tinyDecoder ? { decoder: checkpoint.tinyDecoder.source } : {}),
    scheduler: options.scheduler ?? checkpoint.scheduler.className,
    ...(options.parity ? { parity: true } : {}),
    ...(options.discretisation === "sat" ? { discretisation: "sat" } : {}),
    seed: Number(options.seed ?? defaults.seed),
  };
}
