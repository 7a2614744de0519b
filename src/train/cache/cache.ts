/** @file What frozen encoders make of clips and captions, kept on disk under a digest of all that it depends on. */
import { mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Moments } from "../../diffusion/posterior.ts";
import { ConfigError } from "../../errors.ts";
import { isTemporary, writeWhole } from "../run/whole-file.ts";
import { type Entry, type Floats, type Precision, readEntry, writeEntry } from "./entry.ts";
import { FileDigests } from "./file-digest.ts";
import { type Digest, digestOfFacts, type Facts } from "./key.ts";

/** What is encoded: a file (or a folder of frames) by its content, a text, or anything with a digest of its own. */
export type Content = { readonly file: string } | { readonly text: string } | { readonly digest: Digest };

/** What an entry depends on, besides the number format. */
export type Wanted = {
  readonly content: Content;
  /** Everything done to the content before it is encoded: window, rate, size, crop, prompt length, ... */
  readonly preprocessing: Facts;
  /** Who encodes, see `Cache.encoderIdentity`. */
  readonly encoder: Digest;
};

/** Calls since the cache was opened; every call is a hit or a miss, and some misses met a damaged entry. */
export type CacheCounts = { readonly hits: number; readonly misses: number; readonly damaged: number };

const MARKER = "cache.json";
const VERSION = 1;
type Kind = "moments" | "text" | "digests";

/**
 * Opens the cache in `folder`, which is made where it is missing. Several processes may use it at once.
 * @param precision number format of new entries; entries of the other one are not met
 * @throws ConfigError where the folder holds something else, or a cache of another version
 */
export async function openCache(
  folder: string,
  { precision = "f16" }: { precision?: Precision } = {},
): Promise<Cache> {
  await mkdir(folder, { recursive: true });
  const marker = join(folder, MARKER);
  const text = await readFile(marker, "utf8").catch(() => null);
  if (text === null) {
    const others = (await readdir(folder)).filter((name) => !isTemporary(name) && name !== MARKER);
    if (others.length > 0)
      throw new ConfigError(
        `"${folder}" holds "${others[0]}" and is no cache; give an empty or new folder for the cache`,
      );
    await writeWhole(marker, markerText());
  } else if (text !== markerText())
    throw new ConfigError(
      `"${marker}" is not of this version of the cache; remove the folder or give another`,
    );
  return new Cache(folder, precision);
}

function markerText(): string {
  return `${JSON.stringify({ format: "cogvideox-cache", version: VERSION })}\n`;
}

/** An open cache. Arrays that it returns may be shared with other callers and must not be changed. */
export class Cache {
  readonly folder: string;
  readonly precision: Precision;
  private readonly digests: FileDigests;
  private readonly running = new Map<Digest, Promise<Entry>>();
  private hits = 0;
  private misses = 0;
  private damaged = 0;

  /** See `openCache`. */
  constructor(folder: string, precision: Precision) {
    this.folder = folder;
    this.precision = precision;
    this.digests = new FileDigests((name) => this.place("digests", name));
  }

  get counts(): CacheCounts {
    return { hits: this.hits, misses: this.misses, damaged: this.damaged };
  }

  /** Moments of a clip, encoded only where they are not there or damaged; in both cases as they are stored. */
  async momentsOf(wanted: Wanted, encode: () => Promise<Moments>): Promise<Moments> {
    const entry = await this.entryOf("moments", wanted, ["log_variance", "mean"], async () => {
      const { shape, mean, logVariance } = await encode();
      return { mean: { shape, data: mean }, log_variance: { shape, data: logVariance } };
    });
    return { shape: entry.mean.shape, mean: entry.mean.data, logVariance: entry.log_variance.data };
  }

  /** States `[T, D]` of a caption, as `momentsOf`. */
  async textOf(wanted: Wanted, encode: () => Promise<Floats>): Promise<Floats> {
    const entry = await this.entryOf("text", wanted, ["states"], async () => ({ states: await encode() }));
    return entry.states;
  }

  /** Digest of a file's or text's content. */
  async digestOf(content: Content): Promise<Digest> {
    if ("digest" in content) return content.digest;
    return "text" in content ? digestOfFacts(content.text) : this.digests.of(content.file);
  }

  /**
   * Says who encodes: the digest of a configuration and of the files with weights (and, for text, the tokenizer), in
   * their order; their names do not count.
   */
  async encoderIdentity(config: Facts, files: readonly string[]): Promise<Digest> {
    const contents: Digest[] = [];
    for (const file of files) contents.push(await this.digests.of(file));
    return digestOfFacts({ config, contents });
  }

  private async entryOf(
    kind: Kind,
    wanted: Wanted,
    names: readonly string[],
    compute: () => Promise<Entry>,
  ): Promise<Entry> {
    const key = await this.keyOf(kind, wanted);
    const running = this.running.get(key);
    if (running) {
      this.hits++;
      return running;
    }
    const started = this.readOrCompute(this.place(kind, key), key, names, compute);
    this.running.set(key, started);
    try {
      return await started;
    } finally {
      this.running.delete(key);
    }
  }

  private async readOrCompute(
    file: string,
    key: Digest,
    names: readonly string[],
    compute: () => Promise<Entry>,
  ): Promise<Entry> {
    const found = await readEntry(file, key, names);
    if (typeof found !== "string") {
      this.hits++;
      return found;
    }
    this.misses++;
    if (found === "damaged") this.damaged++;
    return writeEntry(file, key, await compute(), this.precision);
  }

  private async keyOf(kind: Kind, { content, preprocessing, encoder }: Wanted): Promise<Digest> {
    const digest = await this.digestOf(content);
    const source = "text" in content ? "text" : "content";
    return digestOfFacts([VERSION, kind, source, digest, preprocessing, encoder, this.precision]);
  }

  /** Two levels of folders, so that none holds more files than a file system likes. */
  private place(kind: Kind, key: Digest): string {
    const name = kind === "digests" ? key : `${key}.safetensors`;
    return join(this.folder, kind, key.slice(0, 2), key.slice(2, 4), name);
  }
}
