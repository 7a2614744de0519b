/** @file What makes a model's conditioning while it trains, and which kinds of it there are. */
// F latent frames, C' channels beside those of the noise, h and w latent height and width
import type { ClipSize } from "./clip-size.ts";

/** What a model may see of a clip beside the text: its first frame, what a mask leaves of it, or a control video. */
export const conditionKinds = ["image", "inpaint", "control"] as const;
/** One of `conditionKinds`. */
export type ConditionKind = (typeof conditionKinds)[number];

/** A sample of a step: its number there, the clip that it shows, and the size that the clip is cut to. */
export type ConditionedSample = {
  readonly place: number;
  readonly index: number;
  readonly size: ClipSize;
  /** Its latent frames, with those that fill temporal patches. */
  readonly frames: number;
};

export type Conditioner = {
  /** Conditioning latents `[F, C', h, w]` of samples: functions of the seed, the step and the sample. */
  readonly latents: (step: number, samples: readonly ConditionedSample[]) => Promise<Float32Array[]>;
  readonly close: () => Promise<void>;
};
