/** @file What a pipeline says while it works. The command line, the server and tests consume the same events. */
import type { SamplerState } from "../diffusion/sampler.ts";
import type { Fit } from "../media/fit.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import type { Evaluations } from "./caches/evaluations.ts";
import type { StepCache } from "./caches/run-cache.ts";

/** What happens during a run, told apart by `kind`; times are the seconds that the step or stage took. */
export type PipelineEvent =
  /** The run begins: the size of its frames in pixels, the rate they play at, and what to embed in a file. */
  | {
      readonly kind: "started";
      readonly width: number;
      readonly height: number;
      readonly fps: number;
      readonly recipe: Readonly<Record<string, unknown>>;
    }
  /**
   * A picture or clip from outside will be used: which one, its size in pixels, its frames, and how it was brought to
   * the size of the clip to make; `fit` is null where it has that size.
   */
  | {
      readonly kind: "source";
      readonly what: string;
      readonly width: number;
      readonly height: number;
      readonly frames: number;
      readonly fit: Fit | null;
    }
  /** The prompt has been turned into hidden states; `truncated` is the text beyond the token limit, if any. */
  | { readonly kind: "encoded"; readonly truncated: string | null; readonly seconds: number }
  /** One denoising step is done; `step` counts from 1. `state` is everything a resumed run needs. */
  | {
      readonly kind: "step";
      readonly step: number;
      readonly steps: number;
      readonly timestep: number;
      readonly seconds: number;
      readonly state: SamplerState;
      /** With a feature cache: what this step has evaluated, and what the cache keeps. */
      readonly cache?: StepCache;
    }
  /** The noise `[1, F, C, h, w]` that an inversion has found for its video. */
  | { readonly kind: "inverted"; readonly latents: HostTensor }
  /** The final latents `[B, F, C, h, w]`, before anything is dropped or decoded. */
  | { readonly kind: "latents"; readonly latents: HostTensor }
  /** Decoded frames `[T, H, W, 3]` in [0, 1]; `start` is the index of the first among `total`. */
  | { readonly kind: "frames"; readonly start: number; readonly total: number; readonly frames: HostTensor }
  /** With a feature cache, `evaluations` says how much of the transformer was evaluated, and how much left out. */
  | { readonly kind: "done"; readonly seconds: number; readonly evaluations?: Evaluations };

/** Stages of a run, in order; only runs that start from pictures encode. */
export type Stage = "encode" | "text" | "denoise" | "decode";

/** A segment has run: `done` of the `total` segments of this evaluation of a stage. */
export type SegmentEvent = {
  readonly stage: Stage;
  /** Of the segment, as the checkpoint's keys begin, such as "transformer_blocks.3". */
  readonly name: string;
  readonly done: number;
  readonly total: number;
};
