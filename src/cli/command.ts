/** @file What a command is. */
import {
  describeGroups,
  type OptionGroups,
  type OptionTable,
  type OptionValues,
  type Positionals,
  parseOptions,
} from "./options.ts";
import type { Terminal } from "./terminal.ts";

/** What every command can use while it runs. */
export type Context = {
  readonly terminal: Terminal;
  /** Removes what must not be left behind; called when the process has to end in the middle of a segment. */
  readonly cleanups: Set<() => Promise<void>>;
  /** Fires at the first Ctrl-C. */
  readonly signal: AbortSignal;
  /** Makes the exit status 1 although the command finishes and has said everything there is to say. */
  fail(): void;
};

/** A command: its words, its options and what it does. */
export type Command = {
  readonly name: string;
  readonly about: string;
  readonly positionals: Positionals;
  readonly options: OptionTable;
  /** The same options under the headings of the help; one list unless given. */
  readonly groups?: OptionGroups;
  run(args: readonly string[], context: Context): Promise<void>;
};

/** Ties a table of options to the function that takes their values. */
export function command<T extends OptionTable>(spec: {
  readonly name: string;
  readonly about: string;
  readonly positionals: Positionals;
  readonly options: T;
  readonly groups?: OptionGroups;
  readonly run: (values: OptionValues<T>, positionals: readonly string[], context: Context) => Promise<void>;
}): Command {
  return {
    ...spec,
    run: (args, context) => {
      const { values, positionals } = parseOptions(args, spec.options, spec.positionals);
      return spec.run(values, positionals, context);
    },
  };
}

/** The help text of one command; its options are laid out for a terminal of `columns`. */
export function commandHelp(
  { name, about, positionals, options, groups }: Command,
  columns?: number,
): string {
  const usage = ["cogvideox", name, ...positionals, "[options]"].join(" ");
  const listed: OptionGroups =
    groups === undefined
      ? { Options: { ...options, ...commonOptions } }
      : { ...groups, Other: commonOptions };
  return [`${about}.`, "", `Usage: ${usage}`, ...describeGroups(listed, columns)].join("\n");
}

/** Options that every command has. */
export const commonOptions = {
  json: { kind: "flag", about: "print one JSON object a line on stdout" },
  help: { kind: "flag", short: "h", about: "show this help" },
} as const satisfies OptionTable;
