/** @file Patterns of tensor names, with `{}` where a number stands. */

/** `{}` is a number of the name, `{-}` one that the other layout counts from the other end. */
const placeholder = /\{(-?)\}/g;

const compiled = new Map<string, RegExp>();

/** The numbers that `name` has where `pattern` has placeholders; undefined when the name does not fit. */
export function matchPattern(pattern: string, name: string): readonly number[] | undefined {
  return compile(pattern).exec(name)?.slice(1).map(Number);
}

/** The name with `indices` in place of the placeholders. */
export function fillPattern(pattern: string, indices: readonly number[]): string {
  let i = 0;
  return pattern.replace(placeholder, () => String(indices[i++]));
}

/** For each placeholder, whether it counts from the other end. */
export function reversedPlaces(pattern: string): readonly boolean[] {
  return [...pattern.matchAll(placeholder)].map(([, sign]) => sign === "-");
}

/** The pattern up to and including its last placeholder: rows that share it describe one and the same part. */
export function partOf(pattern: string): string {
  const last = [...pattern.matchAll(placeholder)].at(-1);
  return last === undefined ? "" : pattern.slice(0, last.index + last[0].length);
}

function compile(pattern: string): RegExp {
  const known = compiled.get(pattern);
  if (known !== undefined) return known;
  const literal = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const parts = pattern.split(/\{-?\}/).map(literal);
  // At most six digits, so that every number of a name is one that can be counted to.
  const made = new RegExp(`^${parts.join("(0|[1-9]\\d{0,5})")}$`);
  compiled.set(pattern, made);
  return made;
}
