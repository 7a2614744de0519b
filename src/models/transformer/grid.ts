/** @file The grid of video tokens: how latents of a size fall into patches, and in which order. */
import { ConfigError } from "../../errors.ts";
import type { TransformerConfig } from "./config.ts";

/** Size of the latents a transformer call takes: `[batch, frames, channels, height, width]`. */
export type LatentSize = { readonly frames: number; readonly height: number; readonly width: number };

/** Tokens per axis. Token index = (t · height + y) · width + x. */
export type Grid = { readonly frames: number; readonly height: number; readonly width: number };

/** @throws ConfigError when the size does not divide into patches */
export function gridOf({ patch, patchT }: TransformerConfig, size: LatentSize): Grid {
  const temporal = patchT ?? 1;
  if (size.height % patch !== 0 || size.width % patch !== 0)
    throw new ConfigError(
      `latents of ${size.width}x${size.height} do not divide into ${patch}x${patch} patches; ` +
        `pixel width and height must be multiples of ${8 * patch}`,
    );
  if (size.frames % temporal !== 0)
    throw new ConfigError(`${size.frames} latent frames do not divide into temporal patches of ${temporal}`);
  return { frames: size.frames / temporal, height: size.height / patch, width: size.width / patch };
}

/**
 * Latent frames that are put before `frames` of them so that all divide into temporal patches, 0 to patchT - 1. Models
 * are trained with copies of the first frame there; decoding drops them.
 */
export function leadingFrames({ patchT }: Pick<TransformerConfig, "patchT">, frames: number): number {
  const patch = patchT ?? 1;
  return (patch - (frames % patch)) % patch;
}

export function tokensOf(grid: Grid): number {
  return grid.frames * grid.height * grid.width;
}
