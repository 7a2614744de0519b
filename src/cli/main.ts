/** @file The command line: picks a command, runs it, turns what happens into an exit status. */
import { CancelledError, ConfigError, SessionError, ShapeError, WeightsError } from "../errors.ts";
import { version } from "../pipeline/version.ts";
import { exitNow } from "../runtime/heap.ts";
import { terminalColumns, twoColumns } from "./columns.ts";
import { type Command, type Context, commandHelp } from "./command.ts";
import { bench } from "./commands/bench.ts";
import { calibrate } from "./commands/calibrate.ts";
import { convert } from "./commands/convert.ts";
import { data } from "./commands/data.ts";
import { download } from "./commands/download.ts";
import { forward } from "./commands/forward.ts";
import { generate } from "./commands/generate.ts";
import { inspect } from "./commands/inspect.ts";
import { plan } from "./commands/plan.ts";
import { previewFit } from "./commands/preview-fit.ts";
import { resume } from "./commands/resume.ts";
import { train } from "./commands/train.ts";
import { nearest } from "./options.ts";
import { processTerminal, type Terminal } from "./terminal.ts";

/** All commands, in the order of the overview. */
export const commands: readonly Command[] = [
  generate,
  plan,
  resume,
  calibrate,
  previewFit,
  train,
  forward,
  download,
  data,
  convert,
  inspect,
  bench,
];

/** Exit statuses: done, failed, the call itself was wrong, interrupted. */
const status = { done: 0, failed: 1, usage: 2, interrupted: 130 } as const;

/** Runs the command line with the arguments behind `cogvideox`; returns the exit status. */
export async function main(args: readonly string[]): Promise<number> {
  const json = args.includes("--json");
  const rest = args.filter((arg) => arg !== "--json");
  const terminal = processTerminal(json);
  const interrupts = watchInterrupts(terminal);
  let result: number = status.done;
  const fail = () => {
    result = status.failed;
  };
  try {
    if (rest[0] === "--version" || rest[0] === "-V") terminal.print(version());
    else if (rest.length === 0 || ["--help", "-h", "help"].includes(rest[0])) help(rest[1]);
    else await dispatch(rest, { terminal, signal: interrupts.signal, cleanups: interrupts.cleanups, fail });
    return result;
  } catch (error) {
    return report(error as Error, terminal);
  } finally {
    interrupts.stop();
  }
}

async function dispatch([name, ...args]: readonly string[], context: Context): Promise<void> {
  const command = named(name);
  if (args.includes("--help") || args.includes("-h")) help(name);
  else await command.run(args, context);
}

/** @throws ConfigError for a name that no command has, with the nearest that one has */
function named(name: string): Command {
  const command = commands.find((candidate) => candidate.name === name);
  if (command !== undefined) return command;
  const near = nearest(
    name,
    commands.map((candidate) => candidate.name),
  );
  throw new ConfigError(
    `unknown command ${name}${near ? `; did you mean ${near}?` : "; see cogvideox --help"}`,
  );
}

/** Writes what a command does, or without a name what all of them do. */
function help(name: string | undefined): void {
  const columns = terminalColumns();
  const text = name === undefined ? overview(columns) : commandHelp(named(name), columns);
  process.stdout.write(`${text}\n`);
}

/** Errors that say all there is to say; any other comes with its stack. */
const ours = [CancelledError, ConfigError, SessionError, ShapeError, WeightsError];

function report(error: Error, terminal: Terminal): number {
  const cancelled = error instanceof CancelledError;
  // An error with a cause was put into words by the one who wrapped it.
  const expected = ours.some((kind) => error instanceof kind) || error.cause !== undefined;
  terminal.say(cancelled ? error.message : `error: ${error.message}`);
  if (!expected || process.env.DEBUG) terminal.say(error.stack ?? "");
  terminal.emit({ event: "error", name: error.name, message: error.message });
  if (cancelled) return status.interrupted;
  return error instanceof ConfigError ? status.usage : status.failed;
}

type Interrupts = {
  readonly signal: AbortSignal;
  readonly cleanups: Context["cleanups"];
  stop(): void;
};

/** A segment that runs on this long after Ctrl-C is not waited for. */
const PATIENCE_MS = 600;

/**
 * The first Ctrl-C (or SIGTERM) stops between segments. Where the segment in progress takes too long, or at the second
 * Ctrl-C, the process ends inside it, after what it had half written is removed. A closed pipe stops too.
 */
function watchInterrupts(terminal: Terminal): Interrupts {
  const controller = new AbortController();
  const cleanups: Context["cleanups"] = new Set();
  const leave = async () => {
    await Promise.allSettled([...cleanups].map((cleanup) => cleanup()));
    exitNow(status.interrupted);
  };
  let timer: NodeJS.Timeout | undefined;
  const interrupt = () => {
    if (controller.signal.aborted) void leave();
    controller.abort();
    timer ??= setTimeout(leave, PATIENCE_MS);
    terminal.say("stopping");
  };
  const signals = ["SIGINT", "SIGTERM"] as const;
  for (const name of signals) process.on(name, interrupt);
  // Without a listener, writing to a pipe that nobody reads any more would end the process with files half written.
  process.stdout.on("error", () => controller.abort());
  process.stderr.on("error", () => {});
  return {
    signal: controller.signal,
    cleanups,
    stop: () => {
      clearTimeout(timer);
      for (const name of signals) process.off(name, interrupt);
    },
  };
}

function overview(columns: number): string {
  const rows = commands.map(({ name, about }) => ({ left: name, about }));
  const width = Math.max(...rows.map(({ left }) => left.length));
  return [
    "cogvideox: CogVideoX video generation in TypeScript",
    "",
    "Usage: cogvideox COMMAND [options]",
    "",
    "Commands:",
    ...twoColumns(rows, width, columns),
    "",
    "cogvideox COMMAND --help shows the options of a command; --json, --version and --help work everywhere.",
  ].join("\n");
}
