/** @file Downloads a checkpoint from the hub into the shared cache, or finds it there. */
import { readdir, readFile, statfs } from "node:fs/promises";
import { join } from "node:path";
import { ConfigError } from "../errors.ts";
import { fileError } from "../weights/file.ts";
import { parseJson } from "../weights/json.ts";
import { describeFile, fetchBlob, isPresent, type RemoteFile } from "./blob.ts";
import { RepoCache, sizeOf } from "./cache.ts";
import { cachedSnapshot } from "./cached-snapshot.ts";
import { ByteCounter, type DownloadEvent } from "./download-events.ts";
import { HubFailure } from "./failure.ts";
import { inParallel } from "./in-parallel.ts";
import { licenceOf } from "./known-models.ts";
import { fetchListing, type Listing } from "./listing.ts";
import { isCommit, type ModelId, parseModelId, repoOf, showModelId } from "./model-id.ts";
import { indexFile, licenceFiles, listedComponents, neededFiles, shardsOf } from "./needed-files.ts";
import type { Client } from "./request.ts";
import { type HubSettings, hubSettings } from "./settings.ts";

/** A checkpoint in the cache. */
export type Snapshot = {
  /** Holds `model_index.json`; give it wherever a checkpoint folder is wanted. */
  readonly folder: string;
  readonly id: ModelId;
  /** 40 hexadecimal digits. */
  readonly commit: string;
  /** Bytes that came over the network, of files that are complete. */
  readonly downloadedBytes: number;
};

/** Where a download stands apart from what the environment says, and who hears of it. */
export type DownloadOptions = {
  /** A branch, tag or commit, where the name has no `@revision`. */
  readonly revision?: string;
  /** Instead of the environment's. */
  readonly settings?: HubSettings;
  /** Stops with a `CancelledError`; the next download goes on where this one was. */
  readonly signal?: AbortSignal;
  readonly onEvent?: (event: DownloadEvent) => void;
};

/** Files that are downloaded at the same time. */
const parallel = 4;

/**
 * Downloads what a checkpoint needs, into the cache that Python's huggingface_hub uses: configurations, tokenizer, and
 * one set of safetensors weights for each model. Files that are there are used; a download that was cut goes on where it
 * stopped. Snapshot and reference appear when all files are complete and their checksums right.
 * @param model `owner/name` or `owner/name@revision`
 * @throws ConfigError for a name that is none, a model that does not exist or is not for this user, too little space, and offline with nothing
 *   in the cache; WeightsError for everything that a network and a hub can do wrong; CancelledError
 */
export async function downloadModel(
  model: string | ModelId,
  options: DownloadOptions = {},
): Promise<Snapshot> {
  const id = typeof model === "string" ? parseModelId(model, options.revision) : model;
  const settings = options.settings ?? (await hubSettings());
  const cache = new RepoCache(settings.cache, id);
  const ready = async () => snapshotOf(id, cache, await cachedSnapshot(cache, id));
  if (settings.offline) return ready();
  if (isCommit(id.revision)) {
    const found = await ready().catch(() => null);
    if (found !== null) return found;
  }
  const client = clientFor(id, settings, options);
  let listing: Listing;
  try {
    listing = await fetchListing(client, id);
  } catch (error) {
    if (!(error instanceof HubFailure) || !(error.passes || error.kind === "refused")) throw error;
    const found = await ready().catch(() => null);
    if (found === null)
      throw error.kind === "refused" ? new ConfigError(error.message, { cause: error }) : error;
    options.onEvent?.({ kind: "cached", reason: error.message });
    return found;
  }
  return new Download(id, client, cache, listing, options.onEvent ?? (() => {})).run();
}

function clientFor(id: ModelId, settings: HubSettings, { signal, onEvent }: DownloadOptions): Client {
  return {
    settings,
    repo: repoOf(id),
    signal,
    onRetry: (reason, waitMs) => onEvent?.({ kind: "retry", reason, waitMs }),
  };
}

function snapshotOf(id: ModelId, cache: RepoCache, commit: string, downloadedBytes = 0): Snapshot {
  return { folder: cache.snapshot(commit), id, commit, downloadedBytes };
}

/** A file that the snapshot has already, or the blob that it will link to. */
type Fetched = { readonly path: string; readonly file: string; readonly etag: string | null };

/** One download at one commit. Small files come first, because they say which large ones are needed. */
class Download {
  private readonly id: ModelId;
  private readonly client: Client;
  private readonly cache: RepoCache;
  private readonly listing: Listing;
  private readonly onEvent: (event: DownloadEvent) => void;
  private readonly fetched = new Map<string, Fetched>();
  private downloadedBytes = 0;

  constructor(
    id: ModelId,
    client: Client,
    cache: RepoCache,
    listing: Listing,
    onEvent: (event: DownloadEvent) => void,
  ) {
    this.id = id;
    this.client = client;
    this.cache = cache;
    this.listing = listing;
    this.onEvent = onEvent;
  }

  async run(): Promise<Snapshot> {
    const { commit, files } = this.listing;
    await this.requirePipeline();
    const licences = licenceFiles(files.keys());
    await this.fetch([indexFile, ...licences], false);
    if (await this.isFirst()) await this.announceLicence(licences[0]);
    const source = `the repository ${showModelId(this.id)}`;
    const components = listedComponents(await this.readJson(indexFile), `${indexFile} of ${repoOf(this.id)}`);
    const needed = neededFiles([...files.keys()], components, source);
    await this.fetch(needed.small, false);
    const shards = await Promise.all(
      needed.indexes.map(async (path) => shardsOf(await this.readJson(path), path)),
    );
    await this.fetch([...needed.weights, ...shards.flat()], true);
    await this.publish();
    return snapshotOf(this.id, this.cache, commit, this.downloadedBytes);
  }

  private async requirePipeline(): Promise<void> {
    const { commit, files } = this.listing;
    if (files.has(indexFile)) return;
    await this.cache.rememberMissing(commit, indexFile).catch(() => {});
    throw new ConfigError(
      `${showModelId(this.id)} has no ${indexFile}, so it is no checkpoint in the official layout; ` +
        "adapters and single files are given with options of their own",
    );
  }

  /** Describes, then downloads, a few at a time. The first failure stops the others. */
  private async fetch(paths: readonly string[], planned: boolean): Promise<void> {
    const missing = await this.missing(paths);
    if (missing.length === 0) return;
    const described = await this.each(missing, (path, client) => this.describe(client, path));
    const present = await Promise.all(described.map((file) => isPresent(this.cache, file)));
    const absent = described.filter((_, i) => !present[i]);
    for (const { path, etag } of described)
      this.fetched.set(path, { path, file: this.cache.blob(etag), etag });
    if (absent.length > 0) await this.requireSpace(absent);
    const bytes = absent.reduce((sum, file) => sum + file.bytes, 0);
    if (planned && absent.length > 0)
      this.onEvent({
        kind: "plan",
        id: showModelId(this.id),
        commit: this.listing.commit,
        files: absent.length,
        bytes,
      });
    const counter = planned ? new ByteCounter(bytes, this.onEvent) : null;
    await this.each(distinct(absent), async (file, client) => {
      await fetchBlob(client, this.cache, file, (count) => counter?.add(count));
      this.downloadedBytes += file.bytes;
      this.onEvent({ kind: "file", path: file.path, bytes: file.bytes });
    });
  }

  private each<T, R>(items: readonly T[], run: (item: T, client: Client) => Promise<R>): Promise<R[]> {
    return inParallel(items, parallel, this.client.signal, (item, signal) =>
      run(item, { ...this.client, signal }),
    );
  }

  /** Paths that the snapshot does not have yet; those it has are noted as they are. */
  private async missing(paths: readonly string[]): Promise<string[]> {
    const missing: string[] = [];
    for (const path of paths) {
      const file = this.cache.pointer(this.listing.commit, path);
      const found = await sizeOf(file);
      const listed = this.listing.files.get(path)?.bytes ?? null;
      if (found === null) missing.push(path);
      else if (listed !== null && listed !== found)
        throw new HubFailure(
          "wrong",
          `the cache holds ${found} bytes of ${path} where the hub has ${listed}; remove ${file} and try again`,
        );
      else this.fetched.set(path, { path, file, etag: null });
    }
    return missing;
  }

  private async describe(client: Client, path: string): Promise<RemoteFile> {
    const listed = this.listing.files.get(path);
    if (listed === undefined)
      throw new HubFailure(
        "wrong",
        `${showModelId(this.id)} lacks the file ${path}, which its index of weights names`,
      );
    return describeFile(client, this.listing.commit, listed).catch(async (error) => {
      if (error instanceof HubFailure && error.kind === "missing")
        await this.cache.rememberMissing(this.listing.commit, path).catch(() => {});
      throw error;
    });
  }

  /** @throws ConfigError unless the disk has room for what is missing */
  private async requireSpace(files: readonly RemoteFile[]): Promise<void> {
    await this.cache.prepare();
    const { bavail, bsize } = await statfs(this.cache.folder);
    const partial = await Promise.all(files.map(({ etag }) => sizeOf(this.cache.incomplete(etag))));
    const needed = files.reduce((sum, { bytes }, i) => sum + bytes - Math.min(bytes, partial[i] ?? 0), 0);
    const free = bavail * bsize;
    if (needed <= free) return;
    throw new ConfigError(
      `${showModelId(this.id)} needs ${gigabytes(needed)} more in ${this.cache.cache} and the disk has ` +
        `${gigabytes(free)} free; free space, or set HF_HUB_CACHE to a folder on another disk`,
    );
  }

  /** Whether the cache holds nothing of the model but what was fetched just now. */
  private async isFirst(): Promise<boolean> {
    if ((await sizeOf(join(this.cache.folder, "snapshots"))) !== null) return false;
    const known = new Set([...this.fetched.values()].map(({ etag }) => etag));
    return (await readdir(join(this.cache.folder, "blobs"))).every((name) => known.has(name));
  }

  private async announceLicence(path: string | undefined): Promise<void> {
    const { licence: stated } = this.listing;
    const { endpoint } = this.client.settings;
    const known = licenceOf(this.id);
    const text = path === undefined ? null : await readFile(this.fetched.get(path)!.file, "utf8");
    const page = `${endpoint}/${repoOf(this.id)}`;
    const licence = known ?? { name: stated ?? "not stated", url: page, summary: [], special: false };
    this.onEvent({ kind: "licence", id: showModelId(this.id), licence, text });
  }

  private async readJson(path: string): Promise<unknown> {
    const { file } = this.fetched.get(path)!;
    const parsed = parseJson(await readFile(file));
    if ("problem" in parsed)
      throw new HubFailure("wrong", `${path} of ${showModelId(this.id)} ${parsed.problem}`);
    return parsed.value;
  }

  /** Everything is complete: links it into the snapshot, model_index.json last, and remembers the revision. */
  private async publish(): Promise<void> {
    const { commit } = this.listing;
    const fresh = [...this.fetched.values()].filter(({ etag }) => etag !== null);
    const last = (path: string) => Number(path === indexFile);
    try {
      for (const { path, etag } of fresh.sort((a, b) => last(a.path) - last(b.path)))
        await this.cache.link(commit, path, etag!);
      await this.cache.remember(this.id.revision, commit);
    } catch (cause) {
      // A cache that is complete and read-only is fine as it is.
      if (fresh.length > 0) throw fileError("write into the cache of models", this.cache.folder, cause);
    }
  }
}

/** Files with the same content are one blob. */
function distinct(files: readonly RemoteFile[]): RemoteFile[] {
  return [...new Map(files.map((file) => [file.etag, file])).values()];
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(bytes < 1e10 ? 2 : 0)} GB`;
}
