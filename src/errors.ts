/** @file The five ways things go wrong. Every message is a sentence: what is wrong, the value, what would be right. */

/** The call itself is wrong: an option, a size, a configuration file. The command line exits with status 2. */
export class ConfigError extends Error {
  override name = "ConfigError";
}

/** Tensors that do not fit together, found while a graph is built. */
export class ShapeError extends Error {
  override name = "ShapeError";
}

/** A checkpoint that cannot be read, or does not hold what the model needs. */
export class WeightsError extends Error {
  override name = "WeightsError";
}

/** The engine refused a graph or failed while running it; `cause` holds the engine's own error. */
export class SessionError extends Error {
  override name = "SessionError";
}

/** Work stopped because its AbortSignal fired. The command line exits with status 130. */
export class CancelledError extends Error {
  override name = "CancelledError";
}

/** For a path from outside at which nothing stands, or nothing that this user can see. */
export function nothingAt(path: string, cause?: unknown): ConfigError {
  return new ConfigError(`there is no file or folder "${path}"; check the path`, { cause });
}

/** Letters to insert, remove or change on the way from one word to another; for messages that guess what was meant. */
export function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next.push(Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + Number(a[i - 1] !== b[j - 1])));
    row = next;
  }
  return row[b.length];
}
