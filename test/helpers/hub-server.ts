/** @file A hub and its content network on loopback: real HTTP servers that serve repositories, and misbehave on request. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join, relative } from "node:path";
import { onTestFinished } from "vitest";
import type { HubSettings } from "../../src/hub/settings.ts";

export type Files = Readonly<Record<string, Buffer>>;

/** One request as it came in. */
export type Seen = {
  readonly host: "hub" | "cdn";
  readonly method: string;
  readonly path: string;
  readonly range: string | undefined;
  readonly token: string | undefined;
};

/** Answers a request itself, or returns false and lets the server do it. */
export type Misbehaviour = (request: IncomingMessage, response: ServerResponse, seen: Seen) => boolean;

export type HubServer = {
  readonly endpoint: string;
  readonly cdn: string;
  readonly seen: Seen[];
  /** Looked at before every answer. */
  misbehave: Misbehaviour;
  /** What branches and tags stand for. */
  readonly revisions: Record<string, string>;
  /** Files at each commit. */
  readonly commits: Record<string, Files>;
  close(): Promise<void>;
};

export const commitA = "a".repeat(40);
export const commitB = "b".repeat(40);

/** Starts both servers with one repository at `main`; they are closed when the test ends. */
export async function hubServer(files: Files, repo = "owner/model"): Promise<HubServer> {
  const hub: { -readonly [K in keyof HubServer]: HubServer[K] } = {
    endpoint: "",
    cdn: "",
    seen: [],
    misbehave: () => false,
    revisions: { main: commitA },
    commits: { [commitA]: files },
    close: async () => {
      await Promise.all(servers.map(stop));
    },
  };
  const guarded = (
    host: Seen["host"],
    answer: (request: IncomingMessage, response: ServerResponse) => void,
  ) =>
    createServer((request, response) => {
      const { authorization, range } = request.headers;
      const seen = { host, method: request.method!, path: request.url!, range, token: authorization };
      hub.seen.push(seen);
      if (!hub.misbehave(request, response, seen)) answer(request, response);
    });
  const servers = [
    guarded("hub", (request, response) => answerHub(hub, repo, request, response)),
    guarded("cdn", (request, response) => answerContent(hub, request, response)),
  ];
  [hub.endpoint, hub.cdn] = await Promise.all(servers.map(start));
  onTestFinished(() => hub.close());
  return hub;
}

/** Settings for a server of this file, with waits that tests can afford. */
export function settingsFor(hub: HubServer, cache: string, change: Partial<HubSettings> = {}): HubSettings {
  return {
    endpoint: hub.endpoint,
    cache,
    token: undefined,
    offline: false,
    silenceMs: 20_000,
    retryMs: 1,
    attempts: 4,
    ...change,
  };
}

/** All files of a folder by their paths, except those in `expected/`. */
export function filesOf(folder: string): Files {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  );
  const files = entries.map((entry) => join(entry.parentPath, entry.name));
  const named = files.map(
    (file) => [relative(folder, file).replaceAll("\\", "/"), readFileSync(file)] as const,
  );
  return Object.fromEntries(named.filter(([path]) => !path.startsWith("expected/")));
}

export const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");
export const gitId = (bytes: Buffer) =>
  createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
export const isLarge = (path: string) => /\.(safetensors|bin)$/.test(path);
export const etagOf = (path: string, bytes: Buffer) => (isLarge(path) ? sha256(bytes) : gitId(bytes));

/** Sends bytes as a file server does, with ranges. */
export function sendBytes(request: IncomingMessage, response: ServerResponse, bytes: Buffer): void {
  const from = Number(/^bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
  if (request.headers.range !== undefined && from >= bytes.length) {
    response.writeHead(416).end();
    return;
  }
  if (request.headers.range !== undefined)
    response.setHeader("content-range", `bytes ${from}-${bytes.length - 1}/${bytes.length}`);
  response.writeHead(request.headers.range === undefined ? 200 : 206, {
    "content-length": bytes.length - from,
  });
  response.end(request.method === "HEAD" ? undefined : bytes.subarray(from));
}

/** Sends some of the bytes that it announces, and closes the connection. */
export function cutAfter(response: ServerResponse, bytes: Buffer, count: number, status = 200): void {
  response.writeHead(status, { "content-length": bytes.length });
  response.write(bytes.subarray(0, count), () => response.destroy());
}

function answerHub(hub: HubServer, repo: string, request: IncomingMessage, response: ServerResponse): void {
  const url = new URL(request.url!, hub.endpoint);
  const [, list] = new RegExp(`^/api/models/${repo}/revision/(.+)$`).exec(url.pathname) ?? [];
  const [, revision, path] = new RegExp(`^/${repo}/resolve/([^/]+)/(.+)$`).exec(url.pathname) ?? [];
  const named = decodeURIComponent(list ?? revision ?? "");
  const commit = hub.revisions[named] ?? named;
  const files = hub.commits[commit];
  if (list === undefined && revision === undefined) fail(response, 404, "RepoNotFound");
  else if (files === undefined) fail(response, 404, "RevisionNotFound");
  else if (list !== undefined) sendJson(response, listing(repo, commit, files));
  else answerFile(hub, { commit, path: decodeURIComponent(path) }, request, response);
}

/** Small files come from the hub itself, large ones through a redirect whose headers describe them. */
function answerFile(
  hub: HubServer,
  { commit, path }: { readonly commit: string; readonly path: string },
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const bytes = hub.commits[commit][path];
  response.setHeader("x-repo-commit", commit);
  if (bytes === undefined) {
    fail(response, 404, "EntryNotFound");
  } else if (isLarge(path)) {
    response.setHeader("x-linked-etag", `"${sha256(bytes)}"`);
    response.setHeader("x-linked-size", bytes.length);
    response.writeHead(302, { location: `${hub.cdn}/${commit}/${path}?signature=x` }).end();
  } else {
    response.setHeader("etag", `"${gitId(bytes)}"`);
    sendBytes(request, response, bytes);
  }
}

function answerContent(hub: HubServer, request: IncomingMessage, response: ServerResponse): void {
  const [, commit, path] = /^\/([^/]+)\/(.+)$/.exec(new URL(request.url!, hub.cdn).pathname)!;
  response.setHeader("etag", '"of the content network"');
  sendBytes(request, response, hub.commits[commit][decodeURIComponent(path)]);
}

function listing(repo: string, commit: string, files: Files): unknown {
  const siblings = Object.entries(files).map(([rfilename, bytes]) => ({
    rfilename,
    size: bytes.length,
    blobId: gitId(bytes),
    ...(isLarge(rfilename) ? { lfs: { sha256: sha256(bytes), size: bytes.length, pointerSize: 134 } } : {}),
  }));
  return {
    id: repo,
    modelId: repo,
    sha: commit,
    private: false,
    tags: [],
    siblings,
    cardData: { license: "mit" },
  };
}

export function sendJson(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(value));
}

function fail(response: ServerResponse, status: number, code: string): void {
  response.writeHead(status, { "x-error-code": code }).end(JSON.stringify({ error: code }));
}

async function start(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function stop(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
}
