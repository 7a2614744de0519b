/** @file The clips of a recipe: those to train on, and those to measure with. */
import { ConfigError } from "../../errors.ts";
import { type ClipSource, shapesClips } from "./clips.ts";
import { folderClips } from "./folder-clips.ts";
import type { Recipe } from "./schema.ts";

/** The clips that a recipe trains on. */
export async function trainingClips({ data, seed }: Recipe): Promise<ClipSource> {
  return data.kind === "shapes" ? shapesClips(data) : folderClips(data, seed);
}

/**
 * The clips that a recipe measures losses on, null where it measures none.
 * @throws ConfigError for a folder with fewer clips than the recipe asks for
 */
export async function heldOutClips({ data, validate }: Recipe): Promise<ClipSource | null> {
  const { every, clips, path } = validate;
  if (every === null) return null;
  if (data.kind === "shapes") return shapesClips({ ...data, clips }, "held-out");
  const found = await folderClips({ ...data, path: path! }, validate.seed);
  if (found.count < clips)
    throw new ConfigError(`validate.clips is ${clips}, and ${path} has ${found.count}; ask for no more`);
  return { ...found, count: clips };
}
