/** @file The cache on disk, in the layout of Python's huggingface_hub, so that both use what either has downloaded. */
import { randomBytes } from "node:crypto";
import { copyFile, mkdir, readFile, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { fileError } from "../weights/file.ts";
import { isCommit, type ModelId } from "./model-id.ts";

/** Paths of one repository: `models--owner--name/{blobs,refs,snapshots,.no_exist}` and its locks. */
export class RepoCache {
  readonly cache: string;
  readonly folder: string;
  private readonly name: string;

  constructor(cache: string, { owner, name }: ModelId) {
    this.cache = cache;
    this.name = `models--${owner}--${name}`;
    this.folder = join(cache, this.name);
  }

  /** Where the bytes lie, under the entity tag that the hub gave them. */
  blob(etag: string): string {
    return join(this.folder, "blobs", etag);
  }

  /** Bytes that are still coming; the name that Python's client resumes from. */
  incomplete(etag: string): string {
    return `${this.blob(etag)}.incomplete`;
  }

  lock(etag: string): string {
    return join(this.cache, ".locks", this.name, `${etag}.lock`);
  }

  /** The folder that looks like the repository at a commit. */
  snapshot(commit: string): string {
    return join(this.folder, "snapshots", commit);
  }

  /** A file of a snapshot: a link to its blob. */
  pointer(commit: string, path: string): string {
    return join(this.snapshot(commit), ...path.split("/"));
  }

  /** The commit that a revision stood for when it was last asked for; null if never. */
  async commitOf(revision: string): Promise<string | null> {
    if (isCommit(revision)) return revision;
    const text = await readFile(this.ref(revision), "utf8").catch(() => "");
    return isCommit(text.trim()) ? text.trim() : null;
  }

  /** Remembers what a branch or tag stands for. Readers see the old commit or the new one, never half of it. */
  async remember(revision: string, commit: string): Promise<void> {
    if (isCommit(revision) || (await this.commitOf(revision)) === commit) return;
    const file = this.ref(revision);
    await mkdir(dirname(file), { recursive: true });
    const draft = `${file}.${randomBytes(4).toString("hex")}.tmp`;
    await writeFile(draft, commit);
    await rename(draft, file);
  }

  /** Remembers that a commit has no such file, as Python does for files that were asked for in vain. */
  async rememberMissing(commit: string, path: string): Promise<void> {
    const marker = this.noExist(commit, path);
    await mkdir(dirname(marker), { recursive: true });
    await writeFile(marker, "", { flag: "a" });
  }

  /** Whether somebody has asked for the file of this commit in vain. */
  async isKnownMissing(commit: string, path: string): Promise<boolean> {
    return (await sizeOf(this.noExist(commit, path))) !== null;
  }

  /** Makes the folders for blobs and tags the cache for backup programs. */
  async prepare(): Promise<void> {
    const blobs = join(this.folder, "blobs");
    try {
      await mkdir(blobs, { recursive: true });
    } catch (cause) {
      throw fileError("create the cache of models", blobs, cause);
    }
    await writeFile(join(this.cache, "CACHEDIR.TAG"), cacheTag, { flag: "wx" }).catch(() => {});
  }

  /** Puts a complete blob into a snapshot. A file that is there already stays; a link that leads nowhere is replaced. */
  async link(commit: string, path: string, etag: string): Promise<void> {
    const pointer = this.pointer(commit, path);
    if ((await sizeOf(pointer)) !== null) return;
    await mkdir(dirname(pointer), { recursive: true });
    await rm(pointer, { force: true });
    const blob = this.blob(etag);
    await symlink(relative(dirname(pointer), blob), pointer).catch(async (cause) => {
      if (cause.code === "EEXIST") return;
      // Windows without the right to make links, and some network drives: the file itself then stands here.
      await copyFile(blob, pointer).catch((error) => {
        throw fileError("write into the cache of models", pointer, error);
      });
    });
  }

  private ref(revision: string): string {
    return join(this.folder, "refs", ...revision.split("/"));
  }

  private noExist(commit: string, path: string): string {
    return join(this.folder, ".no_exist", commit, ...path.split("/"));
  }
}

/** Bytes of a file, links followed; null where there is none. */
export async function sizeOf(file: string): Promise<number | null> {
  return stat(file).then(
    (found) => found.size,
    () => null,
  );
}

const cacheTag = [
  "Signature: 8a477f597d28d172789f06886806bc55",
  "# This file marks a cache of downloaded models.",
  "# For information about cache directory tags, see:",
  "#\thttps://bford.info/cachedir/",
  "",
].join("\n");
