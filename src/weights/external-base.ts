/** @file Finds the folder from which the engine can reach every file of a checkpoint, links included. */
import { dirname, join, parse, relative, sep } from "node:path";
import { WeightsError } from "../errors.ts";
import type { WeightSet } from "./checkpoint.ts";

/** How a graph names the files that hold its weights. */
export type ExternalBase = {
  /** Absolute path, free of symbolic links, of a folder that contains all files. */
  readonly base: string;
  /**
   * The path relative to `base`, with forward slashes, of a file as `StoredTensor.file` names it.
   * @throws {WeightsError} for a file of another set.
   */
  readonly location: (file: string) => string;
};

/**
 * The deepest folder that contains all files of the set. The engine follows links before it checks that a file lies
 * inside its base folder, so both the base and the locations are those of the real files: for a Hugging Face cache
 * (`snapshots/<revision>/x -> ../../blobs/<hash>`) that is the `blobs` folder and the hashes.
 *
 * @throws {WeightsError} when the files have no folder in common (different drives), or the set is empty.
 */
export function externalBase(set: WeightSet): ExternalBase {
  const files = [...set.realPaths.values()];
  if (files.length === 0)
    throw new WeightsError(`the weights of ${set.folder} lie in no file; open them again`);
  const base = files.map((file) => dirname(file)).reduce((a, b) => commonFolder(set, a, b));
  return { base, location: (file) => locate(set, base, file) };
}

function locate(set: WeightSet, base: string, file: string): string {
  const real = set.realPaths.get(file);
  if (real === undefined)
    throw new WeightsError(
      `${file} holds no weights of ${set.folder}; ask the set that the tensor belongs to`,
    );
  return relative(base, real).split(sep).join("/");
}

function commonFolder(set: WeightSet, a: string, b: string): string {
  const { root } = parse(a);
  if (root !== parse(b).root)
    throw new WeightsError(
      `the files of ${set.folder} lie on different drives (${a}, ${b}); put them on one`,
    );
  const partsOfB = b.slice(root.length).split(sep);
  const parts = a.slice(root.length).split(sep);
  const differs = parts.findIndex((part, i) => part !== partsOfB[i]);
  return join(root, ...(differs < 0 ? parts : parts.slice(0, differs)));
}
