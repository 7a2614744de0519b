/** @file What helps with clips that are longer than those a model was trained on. */
import { reuseNoise } from "../../diffusion/free-noise.ts";
import type { TorchRng } from "../../diffusion/noise.ts";
import { ConfigError } from "../../errors.ts";
import type { TransformerConfig } from "../../models/transformer/config.ts";
import type { LatentSize } from "../../models/transformer/grid.ts";
import { type Riflex, requireRiflex } from "../../models/transformer/positions/riflex.ts";
import type { Predictor } from "../denoiser.ts";
import { windowedPredictor } from "./windowed-predictor.ts";
import { type WindowOptions, type Windows, windowsOf } from "./windows.ts";

/** What to do about the length of a clip; all of it is off unless given. */
export type LongVideoOptions = {
  /** Lowers a temporal frequency of rotary positions where the clip, or a window of it, outlasts it. */
  readonly riflex?: Riflex;
  /** Shows the model so many frames at a time. */
  readonly window?: WindowOptions;
  /** Begins all windows from the same noise in other orders; needs `window`. */
  readonly freeNoise?: boolean;
};

/** What the rest of a request has to do with it. */
type Request = { readonly latents?: unknown; readonly strength?: number };

/** @throws ConfigError for options that do not work out, or do not go together */
export function requireLongVideo(
  config: TransformerConfig,
  { riflex, window, freeNoise }: LongVideoOptions = {},
  { latents, strength }: Request = {},
): void {
  if (riflex !== undefined) requireRiflex(config, riflex);
  if (window !== undefined) windowsOf(config, window);
  if (!freeNoise) return;
  if (window === undefined)
    throw new ConfigError("noise is reused from window to window (--free-noise), so that it needs --window");
  if (latents !== undefined)
    throw new ConfigError(
      "noise cannot be reused (--free-noise) where the latents to start from are given (--latents)",
    );
  if (strength !== undefined)
    throw new ConfigError("noise cannot be reused (--free-noise) where the clip starts from a video");
}

/** The part of a clip that the model sees at a time. */
export function seenAtOnce<S extends LatentSize>(
  config: TransformerConfig,
  size: S,
  { window }: LongVideoOptions = {},
): S {
  return window === undefined
    ? size
    : { ...size, frames: Math.min(size.frames, windowsOf(config, window).frames) };
}

/** A predictor for all of a clip of `total` latent frames, from one for what `seenAtOnce` says. */
export function predictorOver(
  config: TransformerConfig,
  inner: Predictor,
  total: number,
  { window }: LongVideoOptions = {},
): Predictor {
  return window === undefined ? inner : windowedPredictor(inner, total, windowsOf(config, window));
}

/** The noise `[1, F, C, h, w]` a run starts from, reused from window to window where asked for. */
export function startingNoise(
  config: TransformerConfig,
  noise: Float32Array,
  { frames, rng }: { readonly frames: number; readonly rng: TorchRng },
  { window, freeNoise }: LongVideoOptions = {},
): Float32Array {
  if (!freeNoise || window === undefined) return noise;
  const windows: Windows = windowsOf(config, window);
  return reuseNoise(noise, frames, windows, rng);
}
