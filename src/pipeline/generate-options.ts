/** @file What can be asked of every mode of generation, with the defaults. */
import type { SamplerState } from "../diffusion/sampler.ts";
import type { SamplerChoice } from "../diffusion/sampler-for.ts";
import type { SpatioTemporalGuidance } from "../diffusion/stg.ts";
import type { Discretisation } from "../diffusion/timesteps.ts";
import type { TilingOptions } from "../models/vae/tiling.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import type { CacheState } from "./caches/cached-denoiser.ts";
import type { CacheOptions } from "./caches/caches.ts";
import type { ClipRequest } from "./clip-size.ts";
import type { SegmentEvent } from "./events.ts";
import type { GuidanceOptions } from "./guidance-options.ts";
import type { LongVideoOptions } from "./long-video/long-video.ts";

/** What to make. Everything but the prompt has the checkpoint's or the reference's default. */
export type GenerateOptions = ClipRequest &
  GuidanceOptions & {
    /** English, up to the model's token limit; what is over is cut off and told by the "encoded" event. */
    readonly prompt: string;
    /** What to stay away from; "" unless given. */
    readonly negativePrompt?: string;
    /** Denoising steps, 1 to 1000; 50 unless given. In text to video, 0 decodes `latents` as they are. */
    readonly steps?: number;
    /** Guidance away from what the model says with some of its blocks left out; off unless given, needs guidance. */
    readonly stg?: SpatioTemporalGuidance;
    /** The checkpoint's own sampler unless given. */
    readonly scheduler?: SamplerChoice;
    /** Seed of the noise, reproducing the reference's CPU generator; 0 unless given. */
    readonly seed?: number | bigint;
    /** Repeats the reference's defects where a number of steps does not divide 1000; off unless given. */
    readonly parity?: boolean;
    /** Whose noise levels the steps visit; diffusers' unless given. "sat" goes with CogVideoX's own samplers alone. */
    readonly discretisation?: Discretisation;
    /** Start from these latents `[1, F, C, h, w]` instead of noise from the seed. */
    readonly latents?: HostTensor;
    /** Go on from the state of a "step" event of a run with the same options, to the same result. */
    readonly resume?: SamplerState;
    /** Hidden states of the prompts, where they are known already; `prompt` may be empty then. */
    readonly promptStates?: PromptStates;
    /** Reuse features of earlier steps instead of evaluating all of the model; off unless given. */
    readonly cache?: CacheOptions;
    /** With `cache` and in the middle of a run: what the "step" event's cache has saved. */
    readonly cacheState?: CacheState;
    /** What to do about a clip that is longer than those of training. */
    readonly longVideo?: LongVideoOptions;
    /** Stop after the "latents" event. */
    readonly latentsOnly?: boolean;
    /**
     * Encode and decode in overlapping tiles: a fraction of the memory, slightly different pixels. True for the sizes of
     * the reference's tiling.
     */
    readonly tiling?: boolean | TilingOptions;
    /** Multiplies the scales of the pipeline's LoRAs; 1 unless given. */
    readonly loraScale?: number;
    /** Stops the run before its next segment with a `CancelledError`. */
    readonly signal?: AbortSignal;
    /** Called after every segment: a block, a level of the VAE. */
    readonly onSegment?: (event: SegmentEvent) => void;
  };

/** Hidden states `[T, textDim]` of a prompt and of what to stay away from, which nobody looks at without guidance. */
export type PromptStates = {
  /** f32, with all of the model's text tokens. */
  readonly positive: HostTensor;
  readonly negative: HostTensor;
  /** They are those of `prompt` and `negativePrompt`, which then say all there is to say in a recipe. */
  readonly ofTexts?: boolean;
};

/** Whether the hidden states of a clip are its prompt, rather than those of one. */
export function hasOwnStates({ promptStates }: Pick<GenerateOptions, "promptStates">): boolean {
  return promptStates !== undefined && promptStates.ofTexts !== true;
}

/** The reference's defaults. */
export const defaults = { negativePrompt: "", steps: 50, seed: 0 } as const;
