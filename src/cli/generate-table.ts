/** @file The options of `cogvideox generate`, and the job that they describe. */
import { type Discretisation, discretisations } from "../diffusion/timesteps.ts";
import { ConfigError } from "../errors.ts";
import type { GenerateOptions } from "../pipeline/generate-options.ts";
import { devices } from "../runtime/protocol.ts";
import { cacheOption, parseCache } from "./cache-option.ts";
import { enhanceOptions } from "./enhance-options.ts";
import { sourceOptions } from "./generation-modes.ts";
import { guidanceOptionsOf, guidanceTable } from "./guidance-options.ts";
import { longVideoOf, longVideoOptions } from "./long-video-options.ts";
import { loraOption } from "./lora-option.ts";
import { modelOption } from "./model-folder.ts";
import type { OptionGroups, OptionValues } from "./options.ts";
import { precisionOption } from "./precision-option.ts";
import { promptStatesOption } from "./prompt-states-option.ts";
import { stgOf, stgOptions } from "./stg-options.ts";
import { tilingOf, tilingOptions } from "./tiling-options.ts";

const { chain, ...sources } = sourceOptions;

/** Everything that can be asked of a clip on the command line, by the heading of the help. */
export const generateGroups = {
  "What to make": {
    prompts: { kind: "text", value: "FILE", about: "a text file with one prompt a line, a clip for each" },
    negative: { kind: "text", about: "what the video should stay away from" },
    ...enhanceOptions,
    width: { kind: "integer", about: "pixels, a multiple of 16 (the model's own size)" },
    height: { kind: "integer", about: "pixels, a multiple of 16 (the model's own size)" },
    frames: { kind: "integer", about: "8k + 1 frames (the model's own length)" },
    fps: { kind: "number", about: "frames per second of the file (8, or 16 for CogVideoX 1.5)" },
    seed: { kind: "text", value: "N[,N]", about: "seed of the noise (random); several make a clip for each" },
    like: { kind: "text", value: "FILE", about: "take what is not given from the recipe in this clip" },
  },
  "Input pictures and videos": sources,
  "Model and files": {
    model: modelOption,
    lora: loraOption,
    decoder: {
      kind: "text",
      value: "tiny|FILE",
      about: "decode with these TAECVX weights (tiny: taecvx.safetensors of the model)",
    },
    "prompt-states": promptStatesOption,
    latents: { kind: "text", value: "FILE", about: "start from the latents in this safetensors file" },
  },
  "Sampling and guidance": {
    steps: { kind: "integer", about: "denoising steps, 1 to 1000 (50); 0 decodes --latents" },
    scheduler: { kind: "text", choices: ["ddim", "dpm"], about: "sampler (the checkpoint's own)" },
    discretisation: {
      kind: "text",
      choices: discretisations,
      about: "whose noise levels the steps visit (diffusers)",
    },
    parity: { kind: "flag", about: "repeat the reference's defects where the steps do not divide 1000" },
    ...guidanceTable,
    ...stgOptions,
  },
  "Memory and speed": {
    ...tilingOptions,
    cache: cacheOption,
    precision: precisionOption,
    device: { kind: "text", choices: devices, about: "where to compute (cpu)" },
    threads: { kind: "integer", about: "threads for one operator (all cores)" },
  },
  "Long video": { ...longVideoOptions, chain },
  Output: {
    output: {
      kind: "text",
      short: "o",
      value: "FILE",
      about: "video: .mp4, .webm, .gif, .webp, a folder (-png), - for stdout (video-SEED.mp4)",
    },
    fragmented: { kind: "flag", about: "write an .mp4 that can be watched while it is decoded" },
    preview: {
      kind: "text",
      value: "FILE",
      about: "show the clip as it forms: a small .webp, .gif or -png folder",
    },
    "preview-decoder": {
      kind: "text",
      value: "tiny|FILE",
      about: "with --preview, show all pixels through these TAECVX weights",
    },
    "save-latents": { kind: "text", value: "FILE", about: "write the final latents before decoding" },
    "save-frames": {
      kind: "text",
      value: "FILE",
      about: "write the frames as float32 [F, H, W, 3] in [0, 1], which --video takes too",
    },
    "checkpoint-dir": { kind: "text", value: "DIR", about: "save the run here, for cogvideox resume DIR" },
    "checkpoint-every": { kind: "integer", about: "with --checkpoint-dir, steps between two saves (1)" },
  },
} as const satisfies OptionGroups;

/** The same in one table. */
export const generateTable = {
  ...generateGroups["What to make"],
  ...generateGroups["Input pictures and videos"],
  ...generateGroups["Model and files"],
  ...generateGroups["Sampling and guidance"],
  ...generateGroups["Memory and speed"],
  ...generateGroups["Long video"],
  ...generateGroups.Output,
};

/** What was asked of a clip on the command line, or by a recipe. */
export type GenerateValues = OptionValues<typeof generateTable>;

/** Engine options of the commands that have --device and --threads. */
export function engineOptions({ device, threads }: { readonly device?: string; readonly threads?: number }) {
  if (threads !== undefined && (threads < 1 || threads > 1024))
    throw new ConfigError(`--threads must be 1 to 1024, got ${threads}`);
  return { device: device as (typeof devices)[number] | undefined, threads };
}

/** What is asked of every clip of a job. @throws ConfigError for what no checkpoint could do */
export function requestOf(values: GenerateValues): Omit<GenerateOptions, "prompt" | "seed"> {
  const { width, height, frames, steps, parity, discretisation } = values;
  return {
    ...guidanceOptionsOf(values),
    negativePrompt: values.negative,
    stg: stgOf(values),
    cache: parseCache(values.cache),
    longVideo: longVideoOf(values),
    scheduler: values.scheduler as "ddim" | "dpm" | undefined,
    tiling: tilingOf(values),
    discretisation: discretisation as Discretisation | undefined,
    ...{ width, height, frames, steps, parity },
  };
}
