/** @file How large the clips of a transformer's stage are, as pixels and latents, and where their tokens are placed. */
import { ConfigError } from "../../errors.ts";
import type { LatentSize } from "../../models/transformer/grid.ts";
import type { StagePositions } from "../diffusion/stage-positions.ts";
import { paddedSize } from "../diffusion/temporal-padding.ts";
import { latentShape } from "../vae/codec.ts";
import { type ClipSize, clipSizeOf, sizeKey } from "./clip-size.ts";
import type { ModelConfigs } from "./model-folder.ts";
import type { Recipe, TransformerStageRecipe } from "./schema.ts";
import { sizesOf } from "./step-plan.ts";
import { tokensOfClip } from "./transformer-graphs.ts";

export type StageShape = {
  /** The largest clips of the stage. */
  readonly largest: ClipSize;
  readonly latentSize: (size: ClipSize) => LatentSize;
  readonly placement: StagePositions;
};

export function stageShape(
  { data, transformer: { stages } }: Recipe,
  stage: TransformerStageRecipe,
  { vae, transformer }: ModelConfigs,
): StageShape {
  const latentSize = (clip: ClipSize) => {
    const [frames, , height, width] = latentShape(
      [clip.frames, vae.inChannels, clip.height, clip.width],
      vae,
    );
    return { frames, height, width };
  };
  const first = () => paddedSize(latentSize(clipSizeOf(stages[0], data)), transformer.patchT);
  const placement: StagePositions =
    stage.positions === "interpolate" ? { kind: "interpolate", base: first() } : { kind: stage.positions };
  return { largest: clipSizeOf(stage, data), latentSize, placement };
}

/**
 * The sizes that clips of a stage are encoded in.
 * @throws ConfigError for one that the VAE cannot take, or that no row has room for
 */
export function checkedSizes(
  stage: TransformerStageRecipe,
  { largest, latentSize }: StageShape,
  { vae, transformer }: ModelConfigs,
  where: string,
): ClipSize[] {
  const sizes = sizesOf(stage, largest);
  const tokens = tokensOfClip(transformer, latentSize);
  for (const size of sizes) {
    if (!Object.values(latentSize(size)).every(Number.isInteger))
      throw new ConfigError(
        `${where}: clips of ${sizeKey(size)} pixels do not divide into latents; frames must be ` +
          `${2 ** vae.temporalLevels}k + 1, and sides multiples of ${2 ** (vae.channels.length - 1)}`,
      );
    if (stage.pack !== undefined && tokens(size) > stage.pack.capacity)
      throw new ConfigError(
        `${where}: pack.capacity is ${stage.pack.capacity}, and a clip of ${sizeKey(size)} pixels has ` +
          `${tokens(size)} tokens with its text; raise the capacity, or leave that size out`,
      );
  }
  return sizes;
}
