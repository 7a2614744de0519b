/** @file Command-line options: described in a table, parsed and printed from it. */
import { parseArgs } from "node:util";
import { ConfigError, editDistance } from "../errors.ts";
import { type Row, twoColumns } from "./columns.ts";

/**
 * One option. The value's type follows from `kind`: a flag is boolean, integer and number are numbers, texts is a list
 * of everything that the option was given with, which may be several times.
 */
export type OptionSpec = {
  readonly kind: "flag" | "text" | "texts" | "integer" | "number";
  /** One line for the help; ends without a full stop. */
  readonly about: string;
  /** How the value is called in the help, such as FILE. */
  readonly value?: string;
  readonly choices?: readonly string[];
  readonly short?: string;
};

/** Options by their long names. */
export type OptionTable = Readonly<Record<string, OptionSpec>>;

/** Tables by the heading that they stand under in the help. */
export type OptionGroups = Readonly<Record<string, OptionTable>>;

type ValueOf<S extends OptionSpec> = S["kind"] extends "flag"
  ? boolean
  : S["kind"] extends "text"
    ? string
    : S["kind"] extends "texts"
      ? readonly string[]
      : number;

/** Parsed options by name; what was not given is undefined. */
export type OptionValues<T extends OptionTable> = { readonly [K in keyof T]: ValueOf<T[K]> | undefined };

/** Names of the arguments that are not options; one in brackets may be left out, "[NAME...]" may be repeated. */
export type Positionals = readonly string[];

/**
 * Parses arguments against a table.
 * @throws ConfigError for an unknown option (with the nearest known one), a missing or unreadable value, a value
 *   outside the choices, or too many or too few arguments
 */
export function parseOptions<T extends OptionTable>(
  args: readonly string[],
  table: T,
  positionals: Positionals,
): { readonly values: OptionValues<T>; readonly positionals: readonly string[] } {
  const specs = Object.entries(table).map(([name, { kind, short }]) => [
    name,
    {
      type: kind === "flag" ? ("boolean" as const) : ("string" as const),
      multiple: kind === "texts",
      ...(short ? { short } : {}),
    },
  ]);
  let parsed: ReturnType<typeof parseArgs>;
  try {
    parsed = parseArgs({
      args: joinNegatives(args, table),
      options: Object.fromEntries(specs),
      allowPositionals: true,
    });
  } catch (error) {
    throw new ConfigError(explain(error as Error & { code?: string }, table));
  }
  checkPositionals(parsed.positionals, positionals);
  const entries = Object.entries(table).map(([name, spec]) => [
    name,
    readValue(name, spec, parsed.values[name]),
  ]);
  return { values: Object.fromEntries(entries) as OptionValues<T>, positionals: parsed.positionals };
}

/** Arguments that say the same as values by option, so that `parseOptions` can hold values from a file to its table. */
export function argumentsOf(values: Readonly<Record<string, unknown>>): string[] {
  return Object.entries(values).flatMap(([option, value]) => {
    if (value === undefined || value === false) return [];
    if (value === true) return [`--${option}`];
    return [value].flat().map((each) => `--${option}=${each}`);
  });
}

/** Lines of help for tables under their headings, one option each, or several where a terminal has fewer `columns`. */
export function describeGroups(groups: OptionGroups, columns?: number): string[] {
  const described = Object.entries(groups).map(([heading, table]) => ({ heading, rows: rowsOf(table) }));
  const lefts = described.flatMap(({ rows }) => rows.map(({ left }) => left.length));
  const width = Math.min(36, Math.max(0, ...lefts));
  return described.flatMap(({ heading, rows }) => ["", `${heading}:`, ...twoColumns(rows, width, columns)]);
}

function rowsOf(table: OptionTable): Row[] {
  return Object.entries(table).map(([name, spec]) => {
    const operand = spec.kind === "flag" ? "" : ` ${operandOf(spec)}`;
    return { left: `${spec.short ? `-${spec.short}, ` : "    "}--${name}${operand}`, about: spec.about };
  });
}

function operandOf({ kind, value, choices }: OptionSpec): string {
  return choices?.join("|") ?? value ?? (kind.startsWith("text") ? "TEXT" : "N");
}

/** `--guidance -1` would read as two options; a value that looks like a number is glued to its option. */
function joinNegatives(args: readonly string[], table: OptionTable): string[] {
  const joined: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const spec = table[args[i].replace(/^--/, "")];
    const takesValue = args[i].startsWith("--") && spec !== undefined && spec.kind !== "flag";
    if (takesValue && /^-[\d.]/.test(args[i + 1] ?? "")) joined.push(`${args[i]}=${args[++i]}`);
    else joined.push(args[i]);
  }
  return joined;
}

function readValue(
  name: string,
  { kind, choices }: OptionSpec,
  raw: unknown,
): string | readonly string[] | number | boolean | undefined {
  // What the parser was told of the kind is what it gives.
  if (raw === undefined || kind === "flag") return raw as boolean | undefined;
  if (kind === "texts") return raw as string[];
  const text = String(raw);
  if (kind === "text") {
    if (choices && !choices.includes(text))
      throw new ConfigError(`--${name} must be one of ${choices.join(", ")}, got ${JSON.stringify(text)}`);
    return text;
  }
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value) || (kind === "integer" && !Number.isSafeInteger(value)))
    throw new ConfigError(
      `--${name} must be ${kind === "integer" ? "a whole number" : "a number"}, got ${JSON.stringify(text)}`,
    );
  return value;
}

function checkPositionals(given: readonly string[], names: Positionals): void {
  const required = names.filter((name) => !name.startsWith("["));
  if (given.length < required.length)
    throw new ConfigError(`${required[given.length]} is missing; see --help`);
  if (given.length > names.length && names.at(-1)?.endsWith("...]") !== true)
    throw new ConfigError(
      `unexpected argument ${JSON.stringify(given[names.length])}; put a prompt of several words in quotes`,
    );
}

function explain(error: Error & { code?: string }, table: OptionTable): string {
  const name = /'(?:-\w, )?(-{1,2}[^\s'=]+)/.exec(error.message)?.[1] ?? "";
  if (error.code === "ERR_PARSE_ARGS_UNKNOWN_OPTION") {
    const near = nearest(name.replace(/^-+/, ""), Object.keys(table));
    return `unknown option ${name}${near ? `; did you mean --${near}?` : "; see --help for the options"}`;
  }
  if (error.code !== "ERR_PARSE_ARGS_INVALID_OPTION_VALUE") return error.message;
  const named = Object.entries(table).find(
    ([known, { short }]) => name === `--${known}` || name === `-${short}`,
  );
  if (named === undefined || named[1].kind === "flag") return `${name} takes no value`;
  const [known, spec] = named;
  return `--${known} needs a value; write --${known}=${operandOf(spec)} for one that starts with a dash`;
}

/** The known name within two edits, or else the only one that begins so, if there is one. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  const ranked = known.map((candidate) => ({ candidate, distance: editDistance(name, candidate) }));
  ranked.sort((a, b) => a.distance - b.distance);
  if (ranked[0] && ranked[0].distance <= 2) return ranked[0].candidate;
  const begun = name.length < 3 ? [] : known.filter((candidate) => candidate.startsWith(name));
  return begun.length === 1 ? begun[0] : undefined;
}
