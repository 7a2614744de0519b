/** @file One file of a repository on its way into the cache: described, resumed, checked, and only then given its name. */
import { createHash, type Hash } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { CancelledError } from "../errors.ts";
import { fileError } from "../weights/file.ts";
import { type RepoCache, sizeOf } from "./cache.ts";
import { HubFailure } from "./failure.ts";
import { withLock } from "./file-lock.ts";
import type { ListedFile } from "./listing.ts";
import { checkCommit, checkEtag } from "./repo-path.ts";
import { type Answer, ask, type Client, withRetries } from "./request.ts";

/** A file at a commit, as the hub describes it. */
export type RemoteFile = {
  readonly path: string;
  readonly url: string;
  readonly etag: string;
  readonly bytes: number;
};

/** Told of bytes that are there: read from an earlier attempt or received; negative where they had to be dropped. */
export type ByteListener = (bytes: number) => void;

/**
 * Asks for the headers of `resolve/{commit}/{path}`: entity tag, size, commit.
 * @throws HubFailure where they are missing or contradict the listing; CancelledError
 */
export async function describeFile(client: Client, commit: string, listed: ListedFile): Promise<RemoteFile> {
  const { settings, repo } = client;
  const { path } = listed;
  const url = `${settings.endpoint}/${repo}/resolve/${commit}/${path.split("/").map(encodeURIComponent).join("/")}`;
  const what = nameOf(client, path);
  const request = { method: "HEAD", url, what, stopWhereItLeaves: true } as const;
  return withRetries(client, () =>
    ask(client, request, async ({ response: { headers, status } }) => {
      const found = checkCommit(headers.get("x-repo-commit"), what);
      if (found !== commit)
        throw new HubFailure("wrong", `${what} came from the commit ${found} where ${commit} was asked for`);
      const etag = checkEtag(headers.get("x-linked-etag") ?? headers.get("etag"), what);
      const length = headers.get("x-linked-size") ?? (status < 300 ? headers.get("content-length") : null);
      return { path, url, etag, bytes: agreedSize(length, etag, listed, what) };
    }),
  );
}

/**
 * Brings the file into `blobs/`, unless it is there. What an earlier attempt left in `.incomplete` is used.
 * @throws HubFailure for bytes that are too many, too few or the wrong ones; CancelledError; WeightsError for the disk
 */
export async function fetchBlob(
  client: Client,
  cache: RepoCache,
  file: RemoteFile,
  onBytes: ByteListener,
): Promise<void> {
  const wait = () => client.onRetry?.(`another program is downloading ${file.path}; waiting for it`, 0);
  await withLock(cache.lock(file.etag), { signal: client.signal, onWait: wait }, async () => {
    if (await isPresent(cache, file)) return onBytes(file.bytes);
    const draft = await Draft.open(cache.incomplete(file.etag), file, onBytes, client.signal);
    try {
      await withRetries(client, () => receiveChecked(client, file, draft), {
        progress: () => draft.furthest,
      });
      await draft.finish(cache.blob(file.etag));
    } finally {
      await draft.close();
    }
  });
}

/** Whether the blob is in the cache. @throws HubFailure where it has another size than the hub says */
export async function isPresent(cache: RepoCache, { path, etag, bytes }: RemoteFile): Promise<boolean> {
  const found = await sizeOf(cache.blob(etag));
  if (found === null || found === bytes) return found !== null;
  throw new HubFailure(
    "wrong",
    `the cache holds ${found} bytes of ${path} where the hub has ${bytes}; remove ${cache.blob(etag)} and try again`,
  );
}

/** Bytes that started in an earlier attempt may belong to something else: a wrong checksum gets one fresh start. */
async function receiveChecked(client: Client, file: RemoteFile, draft: Draft): Promise<void> {
  const resumed = draft.position > 0;
  if (draft.position < file.bytes) await receive(client, file, draft);
  const wrong = draft.wrongChecksum();
  if (wrong === null) return;
  await draft.restart();
  throw new HubFailure(
    resumed ? "cut" : "wrong",
    `${nameOf(client, file.path)} arrived damaged: its checksum is ${wrong} where ${file.etag} is needed; ` +
      "nothing of it was kept",
  );
}

async function receive(client: Client, file: RemoteFile, draft: Draft): Promise<void> {
  const what = nameOf(client, file.path);
  const request = { method: "GET", url: file.url, what, from: draft.position } as const;
  await ask(client, request, async ({ response, chunks }: Answer) => {
    if (response.status === 416) {
      await draft.restart();
      throw new HubFailure("cut", `the hub refused the rest of ${what}; starting it again`);
    }
    if (response.status !== 206) await draft.restart();
    checkRange(response, file, draft.position, what);
    for await (const chunk of chunks()) {
      if (draft.position + chunk.length > file.bytes) {
        await draft.restart();
        throw new HubFailure(
          "wrong",
          `the hub sent more of ${what} than the ${file.bytes} bytes it announced`,
        );
      }
      await draft.append(chunk);
    }
    if (draft.position < file.bytes)
      throw new HubFailure("cut", `${what} stopped after ${draft.position} of ${file.bytes} bytes`);
  });
}

/** A body of another length than announced is not worth waiting for. */
function checkRange({ status, headers }: Response, file: RemoteFile, from: number, what: string): void {
  if (/text\/html/.test(headers.get("content-type") ?? "") && !file.path.endsWith(".html"))
    throw new HubFailure("wrong", `a web page came instead of ${what}; does the network ask for a login?`);
  const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(headers.get("content-range") ?? "");
  if (status === 206 && (range === null || Number(range[1]) !== from))
    throw new HubFailure(
      "wrong",
      `the hub sent ${headers.get("content-range")} of ${what} where byte ${from} was asked for`,
    );
  const isPlain = (headers.get("content-encoding") ?? "identity") === "identity";
  const total = status === 206 ? range?.[2] : isPlain ? headers.get("content-length") : null;
  if (total == null || total === "*" || Number(total) === file.bytes) return;
  throw new HubFailure(
    "wrong",
    `the hub announced ${file.bytes} bytes of ${what} and sends ${total}; nothing was kept`,
  );
}

function agreedSize(
  length: string | null,
  etag: string,
  { bytes, sha256 }: ListedFile,
  what: string,
): number {
  const stated = length !== null && /^\d{1,15}$/.test(length) ? Number(length) : null;
  const size = stated ?? bytes;
  if (size === null)
    throw new HubFailure("wrong", `the hub does not say how large ${what} is; is HF_ENDPOINT a hub?`);
  if (bytes !== null && size !== bytes)
    throw new HubFailure("wrong", `the hub lists ${what} with ${bytes} bytes and serves it with ${size}`);
  if (sha256 !== null && /^[0-9a-f]{64}$/.test(etag) && etag !== sha256)
    throw new HubFailure(
      "wrong",
      `the hub lists ${what} with the checksum ${sha256} and serves it with ${etag}`,
    );
  return size;
}

function nameOf({ repo }: Client, path: string): string {
  return `${path} of ${repo}`;
}

/** A blob that is being written. Its checksum grows with it. */
class Draft {
  /** Bytes written and hashed so far. */
  position = 0;
  /** The most bytes there ever were; only more than that is progress. */
  furthest = 0;
  private hash: Hash | null = null;
  private readonly path: string;
  private readonly file: RemoteFile;
  private readonly handle: FileHandle;
  private readonly onBytes: ByteListener;

  private constructor(path: string, file: RemoteFile, handle: FileHandle, onBytes: ByteListener) {
    this.path = path;
    this.file = file;
    this.handle = handle;
    this.onBytes = onBytes;
    this.hash = startHash(file);
  }

  /** Opens what an earlier attempt left, and hashes it. */
  static async open(
    path: string,
    file: RemoteFile,
    onBytes: ByteListener,
    signal?: AbortSignal,
  ): Promise<Draft> {
    const handle = await open(path, constants.O_RDWR | constants.O_CREAT, 0o666).catch((cause) => {
      throw fileError("download into the cache", path, cause);
    });
    const draft = new Draft(path, file, handle, onBytes);
    try {
      await draft.reread(signal);
      return draft;
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  async append(chunk: Uint8Array): Promise<void> {
    try {
      // By position, so that two writers whose lock does not hold put the same bytes in the same places.
      for (let done = 0; done < chunk.length; ) {
        const { bytesWritten } = await this.handle.write(
          chunk,
          done,
          chunk.length - done,
          this.position + done,
        );
        done += bytesWritten;
      }
    } catch (cause) {
      throw fileError("download into the cache", this.path, cause);
    }
    this.advance(chunk);
  }

  /** Forgets everything written so far. */
  async restart(): Promise<void> {
    await this.handle.truncate(0);
    this.onBytes(-this.position);
    this.position = 0;
    this.hash = startHash(this.file);
  }

  /** The checksum where it is not that of the entity tag; null where it is, or where the tag is no checksum. */
  wrongChecksum(): string | null {
    const found = this.hash?.copy().digest("hex");
    return found === undefined || found === this.file.etag ? null : found;
  }

  /** Gives the complete file its name; nothing with that name is replaced, as it could only be the same. */
  async finish(blob: string): Promise<void> {
    try {
      await this.handle.sync();
      if ((await sizeOf(blob)) === null) await rename(this.path, blob);
      else await rm(this.path, { force: true });
    } catch (cause) {
      throw fileError("download into the cache", blob, cause);
    }
  }

  /** An empty draft is not worth keeping. */
  async close(): Promise<void> {
    await this.handle.close();
    if (this.position === 0 && this.file.bytes > 0) await rm(this.path, { force: true });
  }

  private async reread(signal: AbortSignal | undefined): Promise<void> {
    const { size } = await this.handle.stat();
    if (size > this.file.bytes) return this.handle.truncate(0);
    const buffer = Buffer.alloc(2 ** 20);
    while (this.position < size) {
      if (signal?.aborted)
        throw new CancelledError(`stopped while checking what was there of ${this.file.path}`);
      const { bytesRead } = await this.handle.read(buffer, 0, buffer.length, this.position);
      if (bytesRead === 0) break;
      this.advance(buffer.subarray(0, bytesRead));
    }
  }

  private advance(bytes: Uint8Array): void {
    this.hash?.update(bytes);
    this.position += bytes.length;
    this.furthest = Math.max(this.furthest, this.position);
    this.onBytes(bytes.length);
  }
}

/** Large files are named by SHA-256, small ones by the id that git gives their content; other names tell nothing. */
function startHash({ etag, bytes }: RemoteFile): Hash | null {
  if (/^[0-9a-f]{64}$/.test(etag)) return createHash("sha256");
  if (/^[0-9a-f]{40}$/.test(etag)) return createHash("sha1").update(`blob ${bytes}\0`);
  return null;
}
