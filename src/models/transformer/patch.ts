/** @file Latents to tokens and back. */
// B batch, F latent frames, C channels, H and W latent height and width, N video tokens, D width
import { linearMap } from "../../graph/functions.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { layer } from "../../nn/scope.ts";
import type { TransformerConfig } from "./config.ts";
import { gridOf } from "./grid.ts";

/**
 * Embeds latents `[B, F, C, H, W]` as tokens `[B, N, D]`. Declares `proj`: a 2x2 convolution kernel in CogVideoX 1.0,
 * a matrix over (c, dt, dy, dx) in 1.5, whose bias is there whatever `patch_bias` says.
 */
export const patchEmbed = layer((p, latents: Tensor, config: TransformerConfig) => {
  const { patch, patchT, width } = config;
  const [batch, , channels] = latents.shape;
  const values = patchify(latents, config); // [B, N, C · pt · p · p]
  const shape = patchT === null ? [width, channels, patch, patch] : [width, values.dim(-1)];
  const weight = p
    .at("proj")
    .param("weight", shape)
    .reshape([width, values.dim(-1)]);
  const bias = patchT !== null || config.patchBias ? p.at("proj").param("bias", [width]) : undefined;
  return linearMap(values, weight, bias).reshape([batch, -1, width]); // [B, N, D]
});

/** Latents `[B, F, C, H, W]` cut into patches `[B, N, C · pt · p · p]`, features in the order (c, dt, dy, dx). */
export function patchify(latents: Tensor, config: TransformerConfig): Tensor {
  const [batch, frames, channels, height, width] = latents.shape;
  const grid = gridOf(config, { frames, height, width });
  const { patch } = config;
  const temporal = config.patchT ?? 1;
  return latents
    .reshape([batch, grid.frames, temporal, channels, grid.height, patch, grid.width, patch])
    .transpose([0, 1, 4, 6, 3, 2, 5, 7]) // [B, f, h, w, C, pt, p, p]
    .reshape([batch, -1, channels * temporal * patch * patch]);
}

/** The inverse of `patchify`: `[B, N, C · pt · p · p]` to `[B, F, C, H, W]`. */
export function unpatchify(
  tokens: Tensor,
  config: TransformerConfig,
  size: { frames: number; height: number; width: number },
): Tensor {
  const grid = gridOf(config, size);
  const { patch } = config;
  const temporal = config.patchT ?? 1;
  const batch = tokens.dim(0);
  return tokens
    .reshape([batch, grid.frames, grid.height, grid.width, -1, temporal, patch, patch])
    .transpose([0, 1, 5, 4, 2, 6, 3, 7]) // [B, f, pt, C, h, p, w, p]
    .reshape([batch, size.frames, -1, size.height, size.width]);
}
