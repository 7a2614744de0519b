/** @file Requests to the hub: redirects followed by hand, the token kept at home, failed attempts repeated. */
import { setTimeout as sleep } from "node:timers/promises";
import { CancelledError } from "../errors.ts";
import { HubFailure, networkFailure, type Subject, statusFailure } from "./failure.ts";
import type { HubSettings } from "./settings.ts";

/** How one download talks to the hub. */
export type Client = {
  readonly settings: HubSettings;
  /** `owner/name`, for messages. */
  readonly repo: string;
  readonly signal: AbortSignal | undefined;
  /** Hears of every attempt that will be repeated. */
  readonly onRetry?: (reason: string, waitMs: number) => void;
};

export type Ask = {
  readonly method: "GET" | "HEAD";
  readonly url: string;
  /** What is asked for, in words, such as "the file vae/config.json of THUDM/CogVideoX-2b". */
  readonly what: string;
  /** First byte wanted. */
  readonly from?: number;
  /** Ends the chain at the redirect that leaves the hub, whose headers describe the file. */
  readonly stopWhereItLeaves?: boolean;
};

const maxRedirects = 10;

/** An answer whose body is read in pieces. */
export type Answer = { readonly response: Response; readonly chunks: () => AsyncGenerator<Uint8Array, void> };

/**
 * Sends one request and hands the answer to `use`. A connection that is silent for too long is cut, also inside `use`.
 * @throws HubFailure for everything that the network and the hub can do; CancelledError
 */
export async function ask<T>(client: Client, request: Ask, use: (answer: Answer) => Promise<T>): Promise<T> {
  const { settings, signal } = client;
  const watch = new AbortController();
  const silence = new Error(`silent for ${settings.silenceMs / 1000} s`);
  const timer = setTimeout(() => watch.abort(silence), settings.silenceMs);
  const stop = () => watch.abort(signal?.reason);
  signal?.addEventListener("abort", stop);
  if (signal?.aborted) stop();
  let host = new URL(request.url).host;
  let response: Response | undefined;
  try {
    response = await follow(client, request, watch.signal, (next) => {
      host = next;
      timer.refresh();
    });
    const body = response.body;
    return await use({ response, chunks: () => readBody(body, watch.signal, () => timer.refresh()) });
  } catch (cause) {
    if (signal?.aborted) throw new CancelledError(`stopped during ${request.what}`, { cause });
    // What is ours is put into words already, and the disk's errors have words of their own.
    if (!watch.signal.aborted && !isNetworkError(cause)) throw cause;
    throw networkFailure(cause, subject(client, request), host, response !== undefined);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
    await response?.body?.cancel().catch(() => {});
  }
}

/** Reads a body to its end. Cancelled by hand: a signal may lose its hold on a body once the request is collected. */
async function* readBody(
  body: ReadableStream<Uint8Array> | null,
  signal: AbortSignal,
  alive: () => void,
): AsyncGenerator<Uint8Array, void> {
  if (body === null) return;
  const reader = body.getReader();
  const stop = () => void reader.cancel(signal.reason).catch(() => {});
  signal.addEventListener("abort", stop);
  try {
    for (;;) {
      signal.throwIfAborted();
      const { done, value } = await reader.read();
      signal.throwIfAborted();
      if (done) return;
      alive();
      yield value;
    }
  } finally {
    signal.removeEventListener("abort", stop);
    await reader.cancel().catch(() => {});
    reader.releaseLock();
  }
}

/** Repeats attempts that failed for a passing reason, with growing waits; `progress` since the last one forgives it. */
export async function withRetries<T>(
  { settings, signal, onRetry }: Client,
  attempt: () => Promise<T>,
  { patient = true, progress = () => 0 }: { patient?: boolean; progress?: () => number } = {},
): Promise<T> {
  let before = progress();
  for (let failures = 1; ; failures++) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof HubFailure) || !error.passes) throw error;
      if (progress() > before) failures = 1;
      before = progress();
      if (failures >= settings.attempts || (!patient && error.kind === "unreachable"))
        throw new HubFailure(
          error.kind,
          failures > 1 ? `${error.message}; gave up after ${failures} attempts` : error.message,
          { cause: error.cause ?? error },
        );
      const waitMs = error.waitMs ?? Math.min(settings.retryMs * 2 ** (failures - 1), 30_000);
      onRetry?.(error.message, waitMs);
      await sleep(waitMs, undefined, { signal }).catch((cause) => {
        throw new CancelledError(`stopped while waiting to ask the hub again`, { cause });
      });
    }
  }
}

async function follow(
  client: Client,
  request: Ask,
  signal: AbortSignal,
  onHost: (host: string) => void,
): Promise<Response> {
  const { settings } = client;
  const home = new URL(settings.endpoint).origin;
  let url = new URL(request.url);
  for (let hops = 0; hops <= maxRedirects; hops++) {
    onHost(url.host);
    const headers = headersFor(request, url.origin === home ? settings.token : undefined);
    const response = await fetchUntil(url, { method: request.method, headers, redirect: "manual" }, signal);
    const location =
      response.status >= 300 && response.status < 400 ? response.headers.get("location") : null;
    if (location === null) {
      if (response.ok || response.status === 416) return response;
      await response.body?.cancel();
      throw statusFailure(response, subject(client, request), settings.token !== undefined);
    }
    const next = redirectTarget(location, url, request.what);
    const describesFile = next.origin !== url.origin || response.headers.has("x-linked-etag");
    if (request.stopWhereItLeaves && describesFile) return response;
    await response.body?.cancel();
    url = next;
  }
  throw new HubFailure(
    "wrong",
    `${request.what} is redirected more than ${maxRedirects} times, last to ${url.host}; is HF_ENDPOINT right?`,
  );
}

function headersFor({ from }: Ask, token: string | undefined): Record<string, string> {
  return {
    "user-agent": "cogvideox",
    // A compressed answer would have neither the announced size nor ranges.
    "accept-encoding": "identity",
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    ...(from ? { range: `bytes=${from}-` } : {}),
  };
}

function redirectTarget(location: string, base: URL, what: string): URL {
  const next = URL.canParse(location, base.href) ? new URL(location, base) : null;
  if (
    next !== null &&
    /^https?:$/.test(next.protocol) &&
    !(base.protocol === "https:" && next.protocol === "http:")
  )
    return next;
  throw new HubFailure(
    "wrong",
    `${what} is redirected to ${JSON.stringify(location.slice(0, 120))}, which is no address that may be followed`,
  );
}

function subject({ settings, repo }: Client, { what }: Ask): Subject {
  return { what, page: `${settings.endpoint}/${repo}` };
}

/** fetch and its bodies fail with TypeErrors. */
function isNetworkError(error: unknown): boolean {
  return error instanceof TypeError && /fetch failed|terminated|network/i.test(error.message);
}

/** fetch, but surely over when the signal fires; an answer that comes too late is dropped. */
async function fetchUntil(url: URL, init: RequestInit, signal: AbortSignal): Promise<Response> {
  signal.throwIfAborted();
  const answer = fetch(url, { ...init, signal });
  let stop = () => {};
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason);
    signal.addEventListener("abort", stop);
  });
  try {
    return await Promise.race([answer, aborted]);
  } catch (error) {
    void answer.then((late) => late.body?.cancel()).catch(() => {});
    throw error;
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
