/** @file Which size of a packed stage every clip is cut to, where that is the one nearest to its video's own. */
import { bucketFor } from "../../data/clips/buckets.ts";
import type { ClipSize } from "./clip-size.ts";
import type { ClipSource } from "./clips.ts";
import type { TransformerStageRecipe } from "./schema.ts";

/** Sizes by the numbers of the clips; null where the stage draws them. */
export async function ownSizes(
  { pack }: Pick<TransformerStageRecipe, "pack">,
  { shape }: Pick<ClipSource, "shape">,
  count: number,
): Promise<readonly ClipSize[] | null> {
  if (pack?.choose !== "nearest") return null;
  if (shape === undefined) throw new Error("the recipe has been checked: shapes have no sizes of their own");
  const sizes: ClipSize[] = [];
  for (let index = 0; index < count; index++) sizes.push(bucketFor(await shape(index), pack.sizes));
  return sizes;
}
