/** @file Names of models on the hub: `owner/name`, and `owner/name@revision`. */
import { ConfigError } from "../errors.ts";

/** A model on the hub at a revision: a branch, a tag or a commit. */
export type ModelId = { readonly owner: string; readonly name: string; readonly revision: string };

/** The hub allows letters, digits, dashes, underscores and dots; a part neither starts nor ends with a mark. */
const part = /^[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?$/;

/**
 * Reads `owner/name` or `owner/name@revision` (default `main`). `revision` may be given apart, but not both ways.
 * @throws ConfigError for text that is no such name, a revision that leads out of its folder, and two revisions
 */
export function parseModelId(text: string, revision?: string): ModelId {
  const at = text.indexOf("@");
  const path = at < 0 ? text : text.slice(0, at);
  const named = at < 0 ? undefined : text.slice(at + 1);
  const [owner, name, ...rest] = path.split("/");
  if (name === undefined || rest.length > 0 || !isPart(owner) || !isPart(name))
    throw new ConfigError(
      `${JSON.stringify(text)} is not the name of a model on the hub; ` +
        "it must be owner/name or owner/name@revision, such as THUDM/CogVideoX-2b",
    );
  if (named !== undefined && revision !== undefined && named !== revision)
    throw new ConfigError(`${text} names the revision ${named} and the option ${revision}; give one of them`);
  return { owner, name, revision: checkRevision(named ?? revision ?? "main") };
}

/** Whether `text` has the form `owner/name` or `owner/name@revision`; says nothing about folders of that name. */
export function looksLikeModelId(text: string): boolean {
  const [path] = text.split("@", 1);
  const parts = path.split("/");
  return parts.length === 2 && parts.every(isPart);
}

/** `owner/name`, without the revision. */
export function repoOf({ owner, name }: ModelId): string {
  return `${owner}/${name}`;
}

/** `owner/name`, with the revision where it is not the default. */
export function showModelId(id: ModelId): string {
  return id.revision === "main" ? repoOf(id) : `${repoOf(id)}@${id.revision}`;
}

/** Whether a revision is a full commit, which never changes. */
export function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision);
}

function isPart(text: string): boolean {
  return part.test(text) && !text.includes("--") && !text.includes("..");
}

/** Revisions become paths in the cache (`refs/pr/1`), so they obey the rules of paths. */
function checkRevision(revision: string): string {
  const parts = revision.split("/");
  const fits = parts.every((item) => /^[\w.+=-]+$/.test(item) && !/^\.+$/.test(item));
  if (fits && revision.length <= 200) return revision;
  throw new ConfigError(
    `${JSON.stringify(revision)} is not a revision; give a branch, a tag or a commit of 40 hexadecimal digits`,
  );
}
