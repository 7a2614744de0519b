/** @file What goes wrong between us and a hub, in words and by whether another attempt can help. */
import { WeightsError } from "../errors.ts";

/**
 * Why a request failed: nobody answered, the connection was cut, the hub has no time, refuses, knows no such thing,
 * or answered something that cannot be right.
 */
export type FailureKind = "unreachable" | "cut" | "busy" | "refused" | "missing" | "wrong";

/** A failed request; to callers outside it is a WeightsError. */
export class HubFailure extends WeightsError {
  readonly kind: FailureKind;
  /** The wait that the hub asked for. */
  readonly waitMs: number | undefined;

  constructor(kind: FailureKind, message: string, options: ErrorOptions & { readonly waitMs?: number } = {}) {
    super(message, options);
    this.kind = kind;
    this.waitMs = options.waitMs;
  }

  /** Whether the same request may succeed later. */
  get passes(): boolean {
    return this.kind === "unreachable" || this.kind === "cut" || this.kind === "busy";
  }
}

/** What was asked for, and where. `page` is the model's address for people. */
export type Subject = { readonly what: string; readonly page: string };

/** An answer with a status that is none of success, or a redirect to nowhere. */
export function statusFailure(response: Response, { what, page }: Subject, hasToken: boolean): HubFailure {
  const { status } = response;
  const code = response.headers.get("x-error-code");
  const refused = `${new URL(page).host} refuses ${what} (status ${status})`;
  if (status === 401)
    return new HubFailure(
      "refused",
      hasToken
        ? `${refused}: the token is not valid, or does not reach this model; set HF_TOKEN to one that does`
        : `${refused}: there is no such public model; check the name, or set HF_TOKEN if it is private or gated`,
    );
  if (status === 403)
    return new HubFailure(
      "refused",
      `${refused}: its owner must grant access; accept the conditions at ${page}` +
        `${hasToken ? "" : ", and set HF_TOKEN"}`,
    );
  if (status === 404)
    return new HubFailure("missing", `there is no ${what} on ${new URL(page).host}; ${missingAdvice(code)}`);
  if (status === 408 || status === 429 || status >= 500)
    return new HubFailure("busy", busySentence(response, what), { waitMs: retryAfter(response) });
  return new HubFailure(
    "wrong",
    `${new URL(page).host} answered with status ${status} for ${what}, which no hub does; is HF_ENDPOINT right?`,
  );
}

/** A request without an answer, or an answer that stopped. */
export function networkFailure(
  cause: unknown,
  { what }: Subject,
  host: string,
  started: boolean,
): HubFailure {
  const reason = reasonOf(cause as Error);
  const wasOpen = started || cutCodes.includes(innermost(cause as Error).code ?? "");
  const proxy = process.env.HTTPS_PROXY || process.env.https_proxy;
  if (wasOpen)
    return new HubFailure("cut", `the connection to ${host} was cut during ${what} (${reason})`, { cause });
  const advice =
    proxy && process.env.NODE_USE_ENV_PROXY !== "1"
      ? "HTTPS_PROXY counts only with NODE_USE_ENV_PROXY=1 and Node 22.21 or newer"
      : "check the network and HF_ENDPOINT";
  return new HubFailure("unreachable", `cannot reach ${host} for ${what} (${reason}); ${advice}`, { cause });
}

function missingAdvice(code: string | null): string {
  if (code === "RevisionNotFound") return "the model exists, but not this revision";
  if (code === "EntryNotFound") return "the model exists, but not this file";
  return "check owner, name and revision";
}

function busySentence({ status }: Response, what: string): string {
  if (status === 429) return `the hub limits the rate of requests and put off ${what} (status 429)`;
  return `the hub could not answer for ${what} (status ${status})`;
}

/** Milliseconds of a Retry-After header, seconds or a date; at most two minutes. */
function retryAfter(response: Response): number | undefined {
  const text = response.headers.get("retry-after");
  if (text === null) return undefined;
  const ms = /^\d+(\.\d+)?$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), 120_000) : undefined;
}

/** Failures of connections that stood; all others mean that there was none. */
const cutCodes = ["UND_ERR_SOCKET", "UND_ERR_HEADERS_TIMEOUT", "UND_ERR_BODY_TIMEOUT", "ECONNRESET", "EPIPE"];

function reasonOf(error: Error): string {
  const { code, message } = innermost(error);
  return message || code || "no reason given";
}

/** The innermost cause says it best: "fetch failed" hides ECONNREFUSED. */
function innermost(error: Error): NodeJS.ErrnoException {
  let inner = error;
  while (inner.cause instanceof Error) inner = inner.cause;
  return inner;
}
