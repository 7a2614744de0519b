/** @file What a repository holds at a revision, as the hub's API lists it. */
import { ConfigError } from "../errors.ts";
import { isRecord, parseJson } from "../weights/json.ts";
import { HubFailure } from "./failure.ts";
import { type ModelId, repoOf, showModelId } from "./model-id.ts";
import { checkCommit, checkRepoPath, show } from "./repo-path.ts";
import { ask, type Client, withRetries } from "./request.ts";

/** A file as listed. What the hub did not say is null. */
export type ListedFile = {
  readonly path: string;
  readonly bytes: number | null;
  /** SHA-256 of a large file's content. */
  readonly sha256: string | null;
};

/** A repository at one commit. */
export type Listing = {
  readonly commit: string;
  readonly files: ReadonlyMap<string, ListedFile>;
  /** The licence that the model's page states, such as "apache-2.0". */
  readonly licence: string | null;
};

/** The largest list that is read; that of a model has a few kilobytes. */
const maxBytes = 32 * 2 ** 20;

/**
 * Asks for `/api/models/{id}/revision/{revision}`. A hub that cannot be reached is not asked again.
 * @throws ConfigError where there is no such model or revision; HubFailure; CancelledError
 */
export async function fetchListing(client: Client, id: ModelId): Promise<Listing> {
  const { endpoint } = client.settings;
  const url = `${endpoint}/api/models/${repoOf(id)}/revision/${encodeURIComponent(id.revision)}?blobs=true`;
  const what = `model ${showModelId(id)}`;
  try {
    return await withRetries(
      client,
      () =>
        ask(client, { method: "GET", url, what }, async ({ response, chunks }) =>
          parseListing(await readAll(chunks(), what), response, what),
        ),
      { patient: false },
    );
  } catch (error) {
    if (error instanceof HubFailure && error.kind === "missing")
      throw new ConfigError(error.message, { cause: error });
    throw error;
  }
}

function parseListing(bytes: Uint8Array, response: Response, what: string): Listing {
  const source = `the file list of ${what}`;
  const parsed = parseJson(bytes);
  if ("problem" in parsed || !isRecord(parsed.value) || !Array.isArray(parsed.value.siblings))
    throw new HubFailure(
      "wrong",
      `${source} ${noList(parsed, response)}; is HF_ENDPOINT a hub, and the network open?`,
    );
  const { sha, siblings, cardData } = parsed.value;
  const files = siblings.map((item) => parseFile(item, source));
  const licence = isRecord(cardData) ? (cardData.license_name ?? cardData.license) : null;
  return {
    commit: checkCommit(sha, source),
    files: new Map(files.map((file) => [file.path, file])),
    licence: typeof licence === "string" ? licence.slice(0, 100) : null,
  };
}

/** Networks that ask for a login answer everything with a page. */
function noList(parsed: ReturnType<typeof parseJson>, response: Response): string {
  const type = response.headers.get("content-type") ?? "no type";
  if (/html/i.test(type)) return `is a web page (${type.slice(0, 60)}) where JSON is needed`;
  return "problem" in parsed ? parsed.problem : `has no array "siblings" (${type.slice(0, 60)})`;
}

function parseFile(item: unknown, source: string): ListedFile {
  if (!isRecord(item)) throw new HubFailure("wrong", `${source} holds ${show(item)} where a file is needed`);
  const lfs = isRecord(item.lfs) ? item.lfs : {};
  return {
    path: checkRepoPath(item.rfilename, source),
    bytes: byteCount(lfs.size ?? item.size),
    sha256: typeof lfs.sha256 === "string" && /^[0-9a-f]{64}$/.test(lfs.sha256) ? lfs.sha256 : null,
  };
}

function byteCount(value: unknown): number | null {
  return Number.isSafeInteger(value) && (value as number) >= 0 ? (value as number) : null;
}

async function readAll(body: AsyncIterable<Uint8Array>, what: string): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let total = 0;
  for await (const chunk of body) {
    total += chunk.length;
    if (total > maxBytes)
      throw new HubFailure(
        "wrong",
        `the file list of ${what} is larger than ${maxBytes} bytes; is HF_ENDPOINT a hub?`,
      );
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
