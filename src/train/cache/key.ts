/** @file Names of cache entries: a digest of everything that decides their content. */
import { createHash } from "node:crypto";
import { ConfigError } from "../../errors.ts";

/** What JSON can say; the order of an object's keys means nothing. */
export type Facts =
  | null
  | boolean
  | number
  | string
  | readonly Facts[]
  | { readonly [name: string]: Facts | undefined };

/** SHA-256 in 64 hexadecimal digits. */
export type Digest = string;

/** The digest of facts: equal for equal facts, however their keys are ordered. Throws ConfigError for NaN, infinity. */
export function digestOfFacts(facts: Facts): Digest {
  return createHash("sha256").update(canonical(facts)).digest("hex");
}

/** JSON with sorted keys and without the keys that are undefined. */
function canonical(facts: Facts): string {
  if (typeof facts === "number" && !Number.isFinite(facts))
    throw new ConfigError(`a cache entry cannot depend on the number ${facts}; give a finite one`);
  if (facts === null || typeof facts !== "object") return JSON.stringify(facts);
  if (Array.isArray(facts)) return `[${facts.map(canonical).join()}]`;
  // Array.isArray does not tell the compiler that a readonly array is ruled out here.
  const named = Object.entries(facts as Readonly<Record<string, Facts | undefined>>)
    .filter((entry): entry is [string, Facts] => entry[1] !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${named.map(([name, value]) => `${JSON.stringify(name)}:${canonical(value)}`).join()}}`;
}
