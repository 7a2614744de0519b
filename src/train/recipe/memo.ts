/** @file What is made once for every key. */

/** `make` for arguments of keys that are not in `made` yet; what it makes goes there. */
export function memo<A, R>(
  make: (argument: A) => R,
  keyOf: (argument: A) => string,
  made = new Map<string, R>(),
): (argument: A) => R {
  return (argument) => {
    const key = keyOf(argument);
    const known = made.get(key) ?? make(argument);
    made.set(key, known);
    return known;
  };
}
