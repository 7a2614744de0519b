/** @file What tells the modes of generation apart, and which checkpoint can do which. */
import type { TorchRng } from "../diffusion/noise.ts";
import type { SamplingPlan } from "../diffusion/sampler.ts";
import { ConfigError } from "../errors.ts";
import { type TransformerConfig, takesImage, takesMask } from "../models/transformer/config.ts";
import type { LatentSize } from "../models/transformer/grid.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { type ClipSize, latentSize, paddingFrames } from "./clip-size.ts";
import type { PipelineEvent } from "./events.ts";
import type { Recipe } from "./recipe.ts";

/** A mode of generation: all that `generate` does not know by itself. */
export type Mode = {
  readonly name: string;
  readonly size: ClipSize;
  /** Size of the latents, with the frames that fill temporal patches. */
  readonly latents: LatentSize;
  /** Leading latent frames that are dropped before decoding. */
  readonly padding: number;
  /** What the recipe says beside what every recipe says. */
  readonly recipe?: Recipe;
  /** Events of what was read from outside. */
  readonly sources?: readonly PipelineEvent[];
  /** Share of the steps that are done, 0 to 1; 1 unless given. */
  readonly strength?: number;
  /** Where the sampler starts. Whatever is random comes from `rng`, in the order of the reference. */
  readonly start: (run: StartOfRun) => Promise<Start>;
};

/** What a mode is told of the run that it starts. */
export type StartOfRun = {
  /** Shape of the latents, `[1, F, C, h, w]` */
  readonly shape: readonly number[];
  readonly rng: TorchRng;
  readonly plan: SamplingPlan;
};

/** What the first step is given; the condition stays for all. */
export type Start = {
  readonly latents: Float32Array;
  /** What the model sees behind the latents on the channel axis in every step, `[1, F, C', h, w]`. */
  readonly condition?: HostTensor;
};

/** The part of a mode that follows from the size of its clip. */
export function sizesOf(
  config: TransformerConfig,
  size: ClipSize,
): Pick<Mode, "size" | "latents" | "padding"> {
  return { size, latents: latentSize(config, size), padding: paddingFrames(config, size) };
}

/** The size of a clip from outside, `[T, 3, H, W]`. */
export function sizeOfPixels({ shape: [frames, , height, width] }: HostTensor): ClipSize {
  return { width, height, frames };
}

/** What a transformer takes besides noisy latents. */
export type CheckpointKind = "text" | "image" | "control" | "inpaint";

const worksFrom: { readonly [K in CheckpointKind]: string } = {
  text: "a prompt alone, or from a video (--video, --invert)",
  image: "an image (--image)",
  control: "a control video (--control)",
  inpaint: "a first or last image (--start-image, --end-image), or a prompt alone",
};

/**
 * What a checkpoint can be used for, by the channels of its transformer; where an image and a control video take the
 * same channels, by the class of its pipeline, and either where that does not tell.
 * @throws ConfigError for a number of channels that belongs to no model of the family
 */
export function kindsOf({ transformer, pipelineClass, folder }: Checkpoint): readonly CheckpointKind[] {
  const { inChannels, outChannels } = transformer.config;
  if (inChannels === outChannels) return ["text"];
  if (takesMask(transformer.config)) return ["inpaint"];
  if (takesImage(transformer.config)) {
    if (/ImageToVideo/.test(pipelineClass)) return ["image"];
    return /Control/.test(pipelineClass) ? ["control"] : ["image", "control"];
  }
  throw new ConfigError(
    `${folder} holds a transformer that takes ${inChannels} channels and makes ${outChannels}; ` +
      `models of this family take ${outChannels}, ${2 * outChannels} or ${2 * outChannels + 1}`,
  );
}

/** @throws ConfigError unless the checkpoint can do the mode */
export function requireKind(checkpoint: Checkpoint, mode: string, kind: CheckpointKind): void {
  const found = kindsOf(checkpoint);
  if (found.includes(kind)) return;
  const { folder, pipelineClass, transformer } = checkpoint;
  throw new ConfigError(
    `${mode} does not work with ${folder}: this ${pipelineClass}, whose transformer takes ` +
      `${transformer.config.inChannels} channels, works from ${found.map((one) => worksFrom[one]).join(" or ")}`,
  );
}
