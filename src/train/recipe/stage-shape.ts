/** @file How large the clips of a transformer's stage are, as pixels and latents, and where their tokens are placed. */
import type { LatentSize } from "../../models/transformer/grid.ts";
import type { StagePositions } from "../diffusion/stage-positions.ts";
import { paddedSize } from "../diffusion/temporal-padding.ts";
import { latentShape } from "../vae/codec.ts";
import { type ClipSize, clipShape, clipSizeOf } from "./clip-size.ts";
import type { ModelConfigs } from "./model-folder.ts";
import type { Recipe, TransformerStageRecipe } from "./schema.ts";

export type StageShape = {
  /** The largest clips of the stage. */
  readonly largest: ClipSize;
  readonly latentSize: (size: ClipSize) => LatentSize;
  readonly placement: StagePositions;
};

export function stageShape(
  { data, transformer: { stages } }: Recipe,
  stage: TransformerStageRecipe,
  { vae, transformer }: Pick<ModelConfigs, "vae" | "transformer">,
): StageShape {
  const latentSize = (clip: ClipSize) => {
    const [frames, , height, width] = latentShape(clipShape(clip, vae), vae);
    return { frames, height, width };
  };
  const first = () => paddedSize(latentSize(clipSizeOf(stages[0], data)), transformer.patchT);
  const placement: StagePositions =
    stage.positions === "interpolate" ? { kind: "interpolate", base: first() } : { kind: stage.positions };
  return { largest: clipSizeOf(stage, data), latentSize, placement };
}
