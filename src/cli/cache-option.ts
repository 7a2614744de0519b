/** @file Feature caches on the command line: NAME, NAME:VALUE or NAME:KEY=VALUE,KEY=VALUE. */
import { ConfigError } from "../errors.ts";
import type { CacheOptions } from "../pipeline/caches/caches.ts";
import { nearest } from "./options.ts";

/** What the help says of the option that takes a cache. */
export const cacheOption = {
  kind: "text",
  value: "NAME[:N]",
  about: "reuse: teacache, first-block, dbcache, pab, fastercache, magcache, taylorseer",
} as const;

type Kind = Exclude<CacheOptions["kind"], "calibration">;

/** Keys of every cache, in words of the library; a value without a key belongs to the first. */
const keys: { readonly [K in Kind]: readonly string[] } = {
  teacache: ["threshold", "coefficientsFile"],
  "first-block": ["threshold"],
  dbcache: ["threshold", "front", "back", "warmup", "most"],
  pab: ["every", "from", "to"],
  fastercache: ["every", "weight", "below", "unconditionalEvery", "unconditionalBelow"],
  magcache: ["threshold", "most", "retention", "ratiosFile"],
  taylorseer: ["interval", "warmup", "until", "order", "part"],
};

/** Keys whose values are words. */
const words: readonly string[] = ["ratiosFile", "coefficientsFile", "part"];

/** The cache that a text asks for. @throws ConfigError for a cache, a key or a number that is none */
export function parseCache(text: string | undefined): CacheOptions | undefined {
  if (text === undefined) return undefined;
  const [, kind, rest] = /^([^:]*)(?::(.*))?$/s.exec(text)!;
  if (!Object.hasOwn(keys, kind)) {
    const near = nearest(kind, Object.keys(keys));
    throw new ConfigError(
      `--cache must be one of ${Object.keys(keys).join(", ")}, got "${kind}"${near ? `; did you mean ${near}?` : ""}`,
    );
  }
  const known = keys[kind as Kind];
  const entries = (rest === undefined ? [] : rest.split(",")).map((part) => entryOf(kind, known, part));
  const repeated = entries.find(([key], i) => entries.findIndex(([other]) => other === key) !== i);
  if (repeated) throw new ConfigError(`--cache ${kind} is given ${spelled(repeated[0])} twice`);
  // The keys are those of this kind of cache; `policyOf` checks the values.
  return { kind, ...Object.fromEntries(entries) } as CacheOptions;
}

/** The text that `parseCache` makes such a cache of. */
export function cacheText({ kind, ...options }: Readonly<Record<string, unknown>>): string {
  const entries = Object.entries(options).map(([key, value]) => `${spelled(key)}=${value}`);
  return entries.length === 0 ? String(kind) : `${kind}:${entries.join()}`;
}

function entryOf(kind: string, known: readonly string[], part: string): [string, string | number] {
  const at = part.indexOf("=");
  const name = at < 0 ? spelled(known[0]) : part.slice(0, at);
  const value = part.slice(at + 1);
  const key = known.find((candidate) => spelled(candidate) === name);
  if (key === undefined)
    throw new ConfigError(
      `--cache ${kind} knows ${known.map(spelled).join(", ")}, got "${name}"; write KEY=VALUE with commas between`,
    );
  if (words.includes(key)) return [key, value];
  const number = Number(value);
  if (value.trim() === "" || !Number.isFinite(number))
    throw new ConfigError(`${name} of --cache ${kind} must be a number, got "${value}"`);
  return [key, number];
}

/** A key as the command line writes it: `unconditional-every`; the file of ratios is `ratios`. */
function spelled(key: string): string {
  return key.replace(/File$/, "").replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
