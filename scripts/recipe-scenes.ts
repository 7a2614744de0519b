/** @file Held-out scenes of the kind that a recipe trains on, for scripts that judge what came out of it. */
import { readFileSync } from "node:fs";
import type { Scene } from "../src/data/shapes/scene.ts";
import { sceneList } from "../src/data/shapes/scene-list.ts";
import { parseRecipe } from "../src/train/recipe/parse-recipe.ts";
import type { DataRecipe } from "../src/train/recipe/schema.ts";

type ShapesRecipe = Extract<DataRecipe, { kind: "shapes" }>;

/** The data of a recipe that trains on shapes. */
export function shapesOf(file: string): ShapesRecipe {
  const { data } = parseRecipe(readFileSync(file, "utf8"), file);
  if (data.kind !== "shapes") throw new Error(`${file} trains on ${data.kind}, not on shapes`);
  return data;
}

/** Scenes by their number, all with a composition that training never shows. */
export function heldOutScenes(
  { twoObjects, camera, patterned, grid, sizes }: ShapesRecipe,
  seed: number,
): (index: number) => Scene {
  const at = sceneList({ seed, split: "held-out", twoObjects, camera, patterned, grid, sizes });
  return (index) => at(index).scene;
}
