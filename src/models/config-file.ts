/** @file Parses a model's config.json: class defaults filled in, every mistake named with its file and field. */
import { z } from "zod";
import { ConfigError } from "../errors.ts";

/**
 * Checks `json` against `schema`. Fields the schema does not know are ignored, as the reference does.
 * @param source the file the JSON came from, for the message
 * @param className what `_class_name` must be, where the file names one
 * @throws ConfigError
 */
export function parseConfig<S extends z.ZodType>(
  schema: S,
  json: unknown,
  source: string,
  className?: string,
): z.infer<S> {
  if (typeof json !== "object" || json === null || Array.isArray(json))
    throw new ConfigError(
      `${source} must hold a JSON object, got ${Array.isArray(json) ? "an array" : typeof json}`,
    );
  const named = (json as { _class_name?: unknown })._class_name;
  if (className !== undefined && named !== undefined && named !== className)
    throw new ConfigError(
      `${source} names the class ${JSON.stringify(named)}; this package reads ${className}`,
    );
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const field = issue.path.join(".");
  const found = issue.path.reduce<unknown>(
    (value, key) => (value as Record<PropertyKey, unknown>)?.[key],
    json,
  );
  throw new ConfigError(
    `${source}: ${field || "the file"} is ${JSON.stringify(found)}; ${issue.message.toLowerCase()}`,
  );
}

/** A whole number of at least one: sizes, counts. */
export const count = z.int().min(1);
