/** @file One request to an OpenAI-style endpoint for chat completions: messages in, the text of the answer out. */
import { z } from "zod";
import { CancelledError, ConfigError } from "../errors.ts";
import { clean, EnhanceFailure, networkFailure, statusFailure } from "./failure.ts";

/** Where prompts are written, and how long we wait for it. */
export type ChatEndpoint = {
  /** The address that requests go to, ending in /chat/completions. */
  readonly url: URL;
  /** Name of the language model, as the endpoint knows it. */
  readonly model: string;
  /** Goes to `url` alone, as a bearer token. */
  readonly key?: string;
  /** For one request with its answer. */
  readonly timeoutMs: number;
  /** Requests for one prompt, at least 1. */
  readonly attempts: number;
  /** Wait before the second request; it doubles with every further one. */
  readonly retryMs: number;
};

/** A message of a chat; pictures go as data URLs. */
export type ChatMessage = {
  readonly role: "system" | "user" | "assistant";
  readonly content: string | readonly ContentPart[];
};

export type ContentPart =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "image_url"; readonly image_url: { readonly url: string } };

type Environment = Readonly<Record<string, string | undefined>>;

type Limits = Pick<ChatEndpoint, "timeoutMs" | "attempts" | "retryMs">;

/** Unless told otherwise. The reference asks three times. */
const limits: Limits = { timeoutMs: 120_000, attempts: 3, retryMs: 1000 };

/**
 * An endpoint from what a user says and the environment: OPENAI_BASE_URL where `address` is "on", OPENAI_MODEL where no
 * model is named, OPENAI_API_KEY.
 * @throws ConfigError for an address that is none, a missing model, or a key that no header can hold
 */
export function chatEndpoint(
  address: string,
  model: string | undefined,
  env: Environment,
  change: Partial<Limits> = {},
): ChatEndpoint {
  const base = address === "on" ? env.OPENAI_BASE_URL : address;
  if (!base)
    throw new ConfigError(
      "no endpoint is named; set OPENAI_BASE_URL, or give --enhance an address such as http://localhost:11434/v1",
    );
  const url = completionsUrl(base);
  const name = model ?? env.OPENAI_MODEL;
  if (!name)
    throw new ConfigError(`no model is named for ${url.host}; give --enhance-model, or set OPENAI_MODEL`);
  const key = env.OPENAI_API_KEY?.trim();
  if (key && !/^[\x21-\x7e]+$/.test(key))
    throw new ConfigError(
      "OPENAI_API_KEY holds spaces, line breaks or other characters that no key has; set it anew",
    );
  return { url, model: name, ...(key ? { key } : {}), ...limits, ...change };
}

function completionsUrl(base: string): URL {
  const url = URL.canParse(base) ? new URL(base) : null;
  if (url === null || !/^https?:$/.test(url.protocol))
    throw new ConfigError(
      `--enhance takes "rules", "on" or an address that begins with http:// or https://, got ${shown(base)}`,
    );
  if (url.username || url.password)
    throw new ConfigError(
      `the address of the endpoint at ${url.host} holds a name or password; set OPENAI_API_KEY instead`,
    );
  const path = url.pathname.replace(/\/+$/, "");
  url.pathname = path.endsWith("/chat/completions") ? path : `${path}/chat/completions`;
  return url;
}

/** A wrong address as messages show it: what lies before an @ may be a password. */
function shown(base: string): string {
  return JSON.stringify(clean(base.replace(/[^/\s]*@/, "...@"), {}, 80));
}

/** Nobody needs more than this for a paragraph, thoughts included. */
const MAX_BYTES = 1 << 20;

/** How answers are drawn: as certain as can be. Newer models take none of these and say so with status 400. */
const sampling = { temperature: 0.01, top_p: 0.7, max_tokens: 1000 } as const;

/**
 * Sends messages and returns the text of the answer.
 * @param plain leaves the way of sampling to the endpoint
 * @throws EnhanceFailure for everything that a network and an endpoint can do; CancelledError
 */
export async function askChat(
  endpoint: ChatEndpoint,
  messages: readonly ChatMessage[],
  { signal, plain = false }: { readonly signal?: AbortSignal; readonly plain?: boolean } = {},
): Promise<string> {
  const { url, model, key, timeoutMs } = endpoint;
  const watch = new AbortController();
  const timer = setTimeout(() => watch.abort(), timeoutMs);
  const stop = () => watch.abort();
  signal?.addEventListener("abort", stop);
  if (signal?.aborted) stop();
  let response: Response | undefined;
  try {
    response = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json", ...(key ? { authorization: `Bearer ${key}` } : {}) },
      body: JSON.stringify({ model, messages, stream: false, ...(plain ? {} : sampling) }),
      redirect: "manual", // the key goes nowhere but to the address that was given
      signal: watch.signal,
    });
    const body = await readText(response, endpoint, watch.signal);
    if (!response.ok) throw statusFailure(response, body, endpoint);
    return contentOf(body, response, endpoint);
  } catch (cause) {
    if (signal?.aborted) throw new CancelledError("stopped while the prompt was being enhanced");
    if (cause instanceof EnhanceFailure) throw cause;
    if (watch.signal.aborted)
      throw new EnhanceFailure("slow", `${url.host} did not finish its answer within ${timeoutMs / 1000} s`);
    throw networkFailure(cause, endpoint, response !== undefined);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
    watch.abort();
  }
}

/** Whether a failure says that the endpoint does not know the way of sampling. */
export function dislikesSampling({ message }: EnhanceFailure): boolean {
  return /status 400\b.*\b(temperature|top_p|max_tokens)\b/.test(message);
}

/** The body to its end. Cancelled by hand: a signal may lose its hold on a body once the request is collected. */
async function readText({ body, ok }: Response, { url }: ChatEndpoint, signal: AbortSignal): Promise<string> {
  if (body === null) return "";
  const reader = body.getReader();
  const stop = () => void reader.cancel().catch(() => {});
  signal.addEventListener("abort", stop);
  const decoder = new TextDecoder();
  let text = "";
  let size = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      signal.throwIfAborted();
      if (done) return text + decoder.decode();
      size += value.length;
      text += decoder.decode(value, { stream: true });
      if (size <= MAX_BYTES) continue;
      if (!ok) return text;
      throw new EnhanceFailure("wrong", `${url.host} answers with more than 1 MiB, which is no prompt`);
    }
  } finally {
    signal.removeEventListener("abort", stop);
    await reader.cancel().catch(() => {});
  }
}

const part = z.object({ text: z.string().optional() });
const answer = z.object({
  choices: z.array(
    z.object({
      message: z.object({
        content: z.union([z.string(), z.array(part)]).nullish(),
        refusal: z.string().nullish(),
      }),
      finish_reason: z.string().nullish(),
    }),
  ),
});

function contentOf(body: string, { headers }: Response, endpoint: ChatEndpoint): string {
  const { host } = endpoint.url;
  const wrong = (what: string) => new EnhanceFailure("wrong", `${host} ${what}`);
  let json: unknown;
  try {
    json = JSON.parse(body);
  } catch {
    const kind = /html/i.test(headers.get("content-type") ?? "") || /^\s*<(!doctype|html)/i.test(body);
    throw wrong(
      `answers with ${kind ? "a web page" : body.trim() === "" ? "nothing" : "no JSON"}; ` +
        "is the address that of the API, which usually ends in /v1?",
    );
  }
  const parsed = answer.safeParse(json);
  if (!parsed.success)
    throw wrong("answers with JSON that is no chat completion; is the address that of the API?");
  const [first] = parsed.data.choices;
  if (first === undefined) throw wrong("answers with an empty list of choices");
  const { content, refusal } = first.message;
  if (refusal) throw wrong(`does not want to write this prompt: ${clean(refusal, endpoint)}`);
  const text = typeof content === "string" ? content : (content ?? []).map((one) => one.text ?? "").join("");
  if (text.trim() === "") throw wrong("answers with an empty text");
  if (first.finish_reason === "length") throw wrong("ran out of tokens before its answer was complete");
  return text;
}
