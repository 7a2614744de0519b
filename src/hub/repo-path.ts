/** @file Names that a hub sends and that become paths here: nothing may lead out of the folder it belongs to. */
import { WeightsError } from "../errors.ts";

/**
 * A file's path in a repository, such as `vae/config.json`.
 * @throws WeightsError for one that is absolute, climbs with `..`, or means something else on another system
 */
export function checkRepoPath(path: unknown, source: string): string {
  const parts = typeof path === "string" ? path.split("/") : [];
  const fits =
    typeof path === "string" &&
    parts.every((part) => part !== "" && part !== "." && part !== "..") &&
    !hasControl(path) &&
    !/[\\:]/.test(path);
  if (fits) return path;
  throw new WeightsError(
    `${source} names the file ${show(path)}, which leads out of the repository's folder; nothing was written`,
  );
}

/**
 * The name of a blob: the entity tag without its quotes (a SHA-256 for large files, a git object id for others).
 * @throws WeightsError for one that is missing or no plain file name
 */
export function checkEtag(header: string | null, source: string): string {
  const etag = (header ?? "").replace(/^W\//, "").replace(/^"|"$/g, "");
  if (/^[A-Za-z0-9][A-Za-z0-9_.-]{0,199}$/.test(etag)) return etag;
  throw new WeightsError(
    `${source} came with ${header === null ? "no ETag" : `the ETag ${show(header)}`}, so its version cannot be told; ` +
      "is HF_ENDPOINT a hub?",
  );
}

/** @throws WeightsError unless it is a full commit id */
export function checkCommit(commit: unknown, source: string): string {
  if (typeof commit === "string" && /^[0-9a-f]{40}$/.test(commit)) return commit;
  throw new WeightsError(
    `${source} came with ${commit == null ? "no commit" : `the commit ${show(commit)}`} ` +
      "where 40 hexadecimal digits are needed; is HF_ENDPOINT a hub?",
  );
}

/** A value from the network, for a message. */
export function show(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length <= 120 ? text : `${text.slice(0, 117)}...`;
}

function hasControl(text: string): boolean {
  return [...text].some((char) => char < " " || char === "\x7f");
}
