/** @file Finds a complete checkpoint in the cache, without a network. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { ConfigError } from "../errors.ts";
import { parseJson } from "../weights/json.ts";
import { type RepoCache, sizeOf } from "./cache.ts";
import { type ModelId, showModelId } from "./model-id.ts";
import { indexFile, listedComponents, neededFiles, shardsOf } from "./needed-files.ts";

/**
 * The commit at which the cache holds all that the checkpoint needs.
 * @throws ConfigError saying what is not there; WeightsError for an index that is broken
 */
export async function cachedSnapshot(cache: RepoCache, id: ModelId): Promise<string> {
  const name = showModelId(id);
  const commit = await cache.commitOf(id.revision);
  if (commit !== null && (await cache.isKnownMissing(commit, indexFile)))
    throw new ConfigError(`${name} has no ${indexFile}, so it is no checkpoint in the official layout`);
  if (commit === null || (await sizeOf(cache.snapshot(commit))) === null)
    throw new ConfigError(`${name} is not in the cache ${cache.cache}; ${advice}`);
  const folder = cache.snapshot(commit);
  if ((await sizeOf(join(folder, indexFile))) === null)
    throw new ConfigError(
      `${folder} lacks ${indexFile}, so the download of ${name} is not complete; ${advice}`,
    );
  const missing = await missingFiles(folder, name);
  if (missing.length === 0) return commit;
  const others = missing.length > 1 ? ` and ${missing.length - 1} more` : "";
  throw new ConfigError(
    `${folder} lacks ${missing[0]}${others}, so the download of ${name} is not complete; ${advice}`,
  );
}

const advice = "download it with a network, without HF_HUB_OFFLINE";

/** Paths that the checkpoint in `folder` needs and does not have. */
async function missingFiles(folder: string, name: string): Promise<string[]> {
  const components = listedComponents(await readJson(join(folder, indexFile)), join(folder, indexFile));
  const found = await Promise.all(components.map((component) => filesOf(folder, component.name)));
  const absent = components.filter((_, i) => found[i].length === 0);
  if (absent.length > 0) return absent.map((component) => `${component.name}/`);
  const { small, weights, indexes } = neededFiles(
    found.flat(),
    components,
    `the copy of ${name} in ${folder}`,
  );
  const shards = await Promise.all(
    indexes.map(async (path) => shardsOf(await readJson(join(folder, path)), path)),
  );
  const paths = [...small, ...weights, ...shards.flat()];
  const sizes = await Promise.all(paths.map((path) => sizeOf(join(folder, path))));
  return paths.filter((_, i) => sizes[i] === null);
}

async function filesOf(folder: string, component: string): Promise<string[]> {
  const names = await readdir(join(folder, component)).catch(() => []);
  return names.map((file) => `${component}/${file}`);
}

async function readJson(file: string): Promise<unknown> {
  const parsed = parseJson(await readFile(file));
  if ("problem" in parsed)
    throw new ConfigError(`${file} ${parsed.problem}; remove it and download it again`);
  return parsed.value;
}
