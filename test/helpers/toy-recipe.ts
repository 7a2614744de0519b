/** @file A recipe that is trained in seconds: 16 x 16 pixels, 9 frames, a few channels. */

export type ToyOptions = {
  readonly vaeSteps?: number;
  readonly transformerSteps?: number;
  /** Lines of YAML under `vae.stages[0]`, `transformer` and the top level. */
  readonly vae?: string;
  readonly transformer?: string;
  readonly top?: string;
  readonly rate?: number;
};

/** YAML of the toy: moving shapes, a VAE of one stage, a transformer of one stage. */
export function toyRecipe(options: ToyOptions = {}): string {
  const { vaeSteps = 4, transformerSteps = 4, vae = "", transformer = "", top = "", rate = 3e-3 } = options;
  return `
seed: 3
dtype: f32
model:
  new:
    textEncoder: {width: 16, heads: 2, headDim: 8, layers: 1, hidden: 16}
    transformer: {heads: 2, headDim: 16, layers: 2, timeDim: 16, maxTextLength: 12}
    vae: {channels: [8, 8, 8], layers: 1, latentChannels: 4, groups: 4}
data: {kind: shapes, seed: 5, clips: 6, size: 16, frames: 9, twoObjects: 0, camera: 0, patterned: 0, captions: short}
vae:
  scaleClips: 4
  stages:
    - {steps: ${vaeSteps}, batch: 2, rate: ${rate}, warmUp: 2, l2: 4, ${vae}}
transformer:
  ${transformer}
  stages:
    - {steps: ${transformerSteps}, batch: 4, accumulate: 2, rate: ${rate}, warmUp: 2, clip: 1}
save: {every: 3, keep: 2}
${top}
`;
}
