/** @file What goes wrong between us and an endpoint that writes prompts, in words that never hold the key. */
import { ConfigError } from "../errors.ts";

/**
 * Why an endpoint gave no prompt: nobody answered, the connection was cut, it took too long, it has no time, it
 * refuses, or what it answered cannot be used.
 */
export type EnhanceFailureKind = "unreachable" | "cut" | "slow" | "busy" | "refused" | "wrong";

/** A prompt that could not be enhanced; the message is a sentence without the key. */
export class EnhanceFailure extends ConfigError {
  readonly kind: EnhanceFailureKind;
  /** The wait that the endpoint asked for. */
  readonly waitMs: number | undefined;

  constructor(kind: EnhanceFailureKind, message: string, waitMs?: number) {
    super(message);
    this.kind = kind;
    this.waitMs = waitMs;
  }

  /** Whether the same request may succeed later, or another way of enhancing now; false where a setting is wrong. */
  get passes(): boolean {
    return this.kind !== "refused";
  }
}

/** What messages say of an endpoint: its host, the model asked for, and the key that they must not show. */
export type Addressee = { readonly url: URL; readonly model: string; readonly key?: string };

/** An answer with a status that is none of success; `body` is what it says, or the beginning of that. */
export function statusFailure({ status, headers }: Response, body: string, to: Addressee): EnhanceFailure {
  const { host } = to.url;
  const told = toldBy(body, to);
  if (status >= 300 && status < 400)
    return new EnhanceFailure(
      "refused",
      `${host} redirects elsewhere (status ${status}); give --enhance the address that it leads to`,
    );
  if (status === 401 || status === 403)
    return new EnhanceFailure(
      "refused",
      to.key === undefined
        ? `${host} wants a key (status ${status}${told}); set OPENAI_API_KEY`
        : `${host} refuses the key (status ${status}${told}); check OPENAI_API_KEY`,
    );
  if (status === 404)
    return new EnhanceFailure(
      "refused",
      `${host} knows no such address, or no model ${to.model} (status 404${told}); ` +
        "the address usually ends in /v1, and --enhance-model names the model",
    );
  if (status === 429 && /insufficient_quota/.test(body))
    return new EnhanceFailure(
      "refused",
      `the account at ${host} has nothing left to spend (status 429${told})`,
    );
  if (status === 408 || status === 429 || status >= 500)
    return new EnhanceFailure(
      "busy",
      `${host} has no time for the prompt (status ${status}${told})`,
      retryAfter(headers),
    );
  return new EnhanceFailure("refused", `${host} does not take the request (status ${status}${told})`);
}

/** A request without an answer, or an answer that stopped. */
export function networkFailure(cause: unknown, to: Addressee, started: boolean): EnhanceFailure {
  const { code, message } = innermost(cause as Error);
  const reason = clean(code ?? message, to);
  if (started || cutCodes.includes(code ?? ""))
    return new EnhanceFailure("cut", `the connection to ${to.url.host} was cut (${reason})`);
  return new EnhanceFailure(
    "unreachable",
    `cannot reach ${to.url.host} (${reason}); is it running, and is the address right?`,
  );
}

/** Foreign text on one line, short, without the key and without what a terminal would obey. */
export function clean(text: string, { key }: Pick<Addressee, "key">, length = 160): string {
  const hidden = key === undefined ? text : text.replaceAll(key, "[key]");
  // Endpoints repeat keys with stars in the middle; the rest of those is nobody's business either.
  const masked = hidden.replace(/\bsk-[\w*.-]{4,}/g, "[key]");
  const line = masked.replace(/[\p{Cc}\p{Cf}\s]+/gu, " ").trim();
  return line.length > length ? `${line.slice(0, length)}...` : line;
}

/** What the body of a failure says for itself, ready to be put behind its status; often nothing. */
function toldBy(body: string, to: Addressee): string {
  let said: unknown;
  try {
    const { error, message } = JSON.parse(body);
    said = error?.message ?? (typeof error === "string" ? error : message);
  } catch {
    return "";
  }
  return typeof said === "string" && said.trim() !== "" ? `: ${clean(said, to)}` : "";
}

/** Milliseconds of a Retry-After header, seconds or a date; at most half a minute. */
function retryAfter(headers: Headers): number | undefined {
  const text = headers.get("retry-after");
  if (text === null) return undefined;
  const ms = /^\d+(\.\d+)?$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), 30_000) : undefined;
}

/** Failures of connections that stood; all others mean that there was none. */
const cutCodes = ["UND_ERR_SOCKET", "ECONNRESET", "EPIPE"];

/** The innermost cause says it best: "fetch failed" hides ECONNREFUSED. */
function innermost(error: Error): NodeJS.ErrnoException {
  let inner = error;
  while (inner.cause instanceof Error) inner = inner.cause;
  return inner;
}
