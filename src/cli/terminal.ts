/** @file What the command line says: progress for people on stderr, results and JSON lines on stdout. */
import type { SegmentEvent } from "../pipeline/events.ts";
import { duration } from "./numbers.ts";

/** Where a command writes. */
export type Terminal = {
  /** Whether stdout carries JSON. */
  readonly isJson: boolean;
  /** A line for people. */
  say(line: string): void;
  /** A result line on stdout, in text mode only. */
  print(line: string): void;
  /** A JSON object on stdout, in JSON mode only. */
  emit(event: Readonly<Record<string, unknown>>): void;
  /** Replaces the progress line on a terminal; silent where stderr is a file, which gets `say` lines alone. */
  progress(line: string): void;
};

/** The process's own streams. With `json`, stdout carries one JSON object a line and nothing else. */
export function processTerminal(json: boolean): Terminal {
  const live = process.stderr.isTTY === true;
  const clear = live ? "\r\x1b[K" : "";
  return {
    isJson: json,
    say: (line) => void process.stderr.write(`${clear}${line}\n`),
    print: (line) => void (json || process.stdout.write(`${line}\n`)),
    emit: (event) => void (json && process.stdout.write(`${JSON.stringify(event)}\n`)),
    progress: (line) =>
      void (live && process.stderr.write(`${clear}${line.slice(0, process.stderr.columns ?? 80)}`)),
  };
}

const stageNames = {
  encode: "encoding pictures",
  text: "reading the prompt",
  denoise: "denoising",
  decode: "decoding",
} as const;

/** One line of progress: what runs, how far it is, how long it will take. */
export class Progress {
  private readonly terminal: Terminal;
  private readonly times: number[] = [];
  private step = 0;
  private steps = 0;

  constructor(terminal: Terminal) {
    this.terminal = terminal;
  }

  segment({ stage, name, done, total }: SegmentEvent): void {
    const where = stage === "denoise" && this.steps > 0 ? ` step ${this.step + 1}/${this.steps}` : "";
    this.terminal.progress(
      `${stageNames[stage]}${where} ${bar(done / total)} ${done}/${total} ${name}${this.eta()}`,
    );
  }

  /** Counts a finished step and says so. */
  stepDone(step: number, steps: number, seconds: number): void {
    this.step = step;
    this.steps = steps;
    this.times.push(seconds);
    this.terminal.say(`step ${step}/${steps}  ${duration(seconds)} a step${this.eta()}`);
  }

  private eta(): string {
    if (this.times.length === 0 || this.step >= this.steps) return "";
    const recent = this.times.slice(-5);
    const mean = recent.reduce((sum, t) => sum + t, 0) / recent.length;
    return `  ${duration(mean * (this.steps - this.step))} left`;
  }
}

function bar(share: number, width = 20): string {
  const filled = Math.round(share * width);
  return `[${"#".repeat(filled)}${"-".repeat(width - filled)}]`;
}
