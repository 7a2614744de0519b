/** @file A recipe that is trained in seconds: 16 x 16 pixels, 9 frames, a few channels. */

export type ToyOptions = {
  /** 0 for a VAE that stays as it is. */
  readonly vaeSteps?: number;
  readonly transformerSteps?: number;
  /** More fields of the VAE's stage, of the transformer, and lines of the top level, as YAML. */
  readonly vae?: string;
  readonly transformer?: string;
  readonly top?: string;
  /** The transformer's stages in place of the one, as a YAML list. */
  readonly stages?: string;
  /** A checkpoint folder in place of a new model; its VAE stays as it is. */
  readonly from?: string;
};

/**
 * YAML of the toy: clips of moving shapes; a VAE that trains on single frames, whose graph is compiled in seconds; a
 * transformer over the latents of whole clips.
 */
export function toyRecipe(options: ToyOptions = {}): string {
  const { vaeSteps = 4, transformerSteps = 4, vae = "", transformer = "", top = "", stages, from } = options;
  const hasVae = from === undefined && vaeSteps > 0;
  return `
seed: 3
dtype: f32
model:
${from === undefined ? NEW : `  from: ${from}`}
data: {kind: shapes, seed: 5, clips: 6, size: 16, frames: 9, twoObjects: 0, camera: 0, patterned: 0, captions: short}
vae:
  scaleClips: 4
  stages:
${hasVae ? `    - {steps: ${vaeSteps}, frames: 1, accumulate: 2, rate: 3e-3, warmUp: 2, l2: 4, ${vae}}` : "    []"}
transformer:
  ${transformer}
  stages:
${stages ?? `    - {steps: ${transformerSteps}, batch: 4, accumulate: 2, rate: 3e-3, warmUp: 2, clip: 1}`}
save: {every: 10, keep: 2}
${top}
`;
}

const NEW = `  new:
    textEncoder: {width: 16, heads: 2, headDim: 8, layers: 1, hidden: 16}
    transformer: {heads: 2, headDim: 16, layers: 2, timeDim: 16, maxTextLength: 12}
    vae: {channels: [8, 8], layers: 1, latentChannels: 4, groups: 4, temporalRatio: 2}`;
