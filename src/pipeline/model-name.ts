/** @file What a recipe calls checkpoints and LoRAs, so that another machine finds them too. */
import { resolve } from "node:path";
import { exists } from "../weights/file.ts";
import { packagedFolder, packagedName } from "./nano.ts";

/** A snapshot in the cache of the hub, which Python's libraries share: its owner, its name and its commit. */
const snapshot = /[\\/]models--([\w.-]+?)--([\w.-]+)[\\/]snapshots[\\/]([0-9a-f]{40})[\\/]?$/;

/** What comes along, as recipes named it before: by its folder. */
const oldPackaged = /[\\/]models[\\/](nano(?:-[a-z0-9]+)?)$/;

/** A checkpoint in a recipe: the name of what comes along, `owner/name@commit` on the hub, or its path as it was given. */
export function recipeModel(folder: string): string {
  return hubName(folder) ?? recipeLora(folder);
}

/** A LoRA in a recipe: the name of what comes along, or its path as it was given. */
export function recipeLora(path: string): string {
  const name = packagedName(path);
  if (name !== null) return name;
  // A folder that is only called so keeps its place.
  return packagedFolder(path) === null ? path : resolve(path);
}

/**
 * The checkpoint that a recipe names: a path, or `owner/name@commit`. Paths of old recipes that are not there are those
 * of what came along, or of the hub's cache, on another machine.
 */
export async function modelOfRecipe(name: string): Promise<string> {
  const id = hubName(name);
  return id === null || (await exists(name)) ? loraOfRecipe(name) : id;
}

/** The path of the LoRA that a recipe names; as `modelOfRecipe`. */
export async function loraOfRecipe(name: string): Promise<string> {
  const folder = packagedFolder(name);
  if (folder !== null) return folder;
  const [, old = ""] = oldPackaged.exec(name) ?? [];
  const here = packagedFolder(old);
  return here === null || (await exists(name)) ? name : here;
}

function hubName(path: string): string | null {
  const [, owner, name, commit] = snapshot.exec(path) ?? [];
  return commit === undefined ? null : `${owner}/${name}@${commit}`;
}
