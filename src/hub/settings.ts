/** @file Where the hub and its cache are and how to talk to them: the environment variables of the Python client. */
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { ConfigError } from "../errors.ts";

/** How to reach the hub. Times are in milliseconds. */
export type HubSettings = {
  /** `https://host[:port][/path]` without a slash at the end. */
  readonly endpoint: string;
  /** Folder that holds `models--owner--name`. */
  readonly cache: string;
  /** Sent to the endpoint's host and to no other. */
  readonly token: string | undefined;
  /** Only what is in the cache is used. */
  readonly offline: boolean;
  /** A connection that is silent for this long counts as cut. */
  readonly silenceMs: number;
  /** The wait before the first new attempt; it doubles with each further one. */
  readonly retryMs: number;
  /** Attempts without any progress before giving up. */
  readonly attempts: number;
};

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Settings from HF_ENDPOINT, HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE, HF_TOKEN, HF_TOKEN_PATH, HF_HUB_DISABLE_IMPLICIT_TOKEN,
 * HF_HUB_DOWNLOAD_TIMEOUT (seconds) and the older names that the Python client (huggingface_hub 2.4) still reads.
 * @throws ConfigError for an endpoint that is no http address, a time that is no number, an unusable token
 */
export async function hubSettings(env: Environment = process.env): Promise<HubSettings> {
  const home = expand(env.HF_HOME ?? join(env.XDG_CACHE_HOME ?? "~/.cache", "huggingface"), env);
  const cache = env.HF_HUB_CACHE ?? env.HUGGINGFACE_HUB_CACHE ?? join(home, "hub");
  return {
    endpoint: readEndpoint(env.HF_ENDPOINT),
    cache: resolve(expand(cache, env)),
    token: await readToken(env, home),
    offline: isTrue(env.HF_HUB_OFFLINE || env.TRANSFORMERS_OFFLINE),
    silenceMs: readSeconds("HF_HUB_DOWNLOAD_TIMEOUT", env.HF_HUB_DOWNLOAD_TIMEOUT, 30) * 1000,
    retryMs: 1000,
    attempts: 5,
  };
}

function readEndpoint(text = "https://huggingface.co"): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !/^https?:$/.test(url.protocol) || url.username || url.search || url.hash)
    throw new ConfigError(
      `HF_ENDPOINT must be an http or https address without user and query, got ${JSON.stringify(text)}; ` +
        "the official one is https://huggingface.co",
    );
  return text.replace(/\/+$/, "");
}

async function readToken(env: Environment, home: string): Promise<string | undefined> {
  const given = env.HF_TOKEN || env.HUGGING_FACE_HUB_TOKEN;
  if (given) return cleanToken(given, "HF_TOKEN");
  if (isTrue(env.HF_HUB_DISABLE_IMPLICIT_TOKEN)) return undefined;
  const file = expand(env.HF_TOKEN_PATH ?? join(home, "token"), env);
  const text = await readFile(file, "utf8").catch((cause) => {
    if (["ENOENT", "ENOTDIR"].includes(cause.code)) return "";
    throw new ConfigError(`cannot read the token in ${file}: ${cause.message}`, { cause });
  });
  return cleanToken(text, file);
}

/** The message never shows the token. */
function cleanToken(text: string, source: string): string | undefined {
  const token = text.replace(/[\r\n]/g, "").trim();
  if (/^[\x21-\x7e]*$/.test(token)) return token || undefined;
  throw new ConfigError(
    `the token in ${source} holds blanks or other characters that no token has; set it again`,
  );
}

function readSeconds(name: string, text: string | undefined, usual: number): number {
  if (text === undefined || text === "") return usual;
  const seconds = Number(text);
  if (seconds > 0 && Number.isFinite(seconds)) return seconds;
  throw new ConfigError(`${name} must be a number of seconds above 0, got ${JSON.stringify(text)}`);
}

function isTrue(text: string | undefined): boolean {
  return /^(1|on|yes|true)$/i.test(text ?? "");
}

/** `~` at the start and `$NAME` or `${NAME}` anywhere, as the Python client expands them. */
function expand(path: string, env: Environment): string {
  const home = env.HOME ?? homedir();
  return path
    .replace(/^~(?=\/|$)/, () => home)
    .replace(/\$(?:\{(\w+)\}|(\w+))/g, (all, braced, bare) => env[braced ?? bare] ?? all);
}
