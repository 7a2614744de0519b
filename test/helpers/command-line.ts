/** @file Runs the command line: within the test's own process, or in a process of its own, as users do. */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import type { Worker } from "node:worker_threads";
import { onTestFinished } from "vitest";
import { main } from "../../src/cli/main.ts";

export type Ended = {
  /** Exit status; null where a signal ended the process. */
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
};

export type ProcessOptions = {
  readonly cwd?: string;
  /** Variables on top of the test's own. */
  readonly env?: Readonly<Record<string, string>>;
  /** Sees stderr as it grows; the returned signal is sent to the process, once. */
  readonly onStderr?: (text: string) => NodeJS.Signals | undefined;
  /** Sees stdout as it grows, with the stream it comes from; the returned signal is sent to the process, once. */
  readonly onStdout?: (text: string, stream: Readable) => Promise<NodeJS.Signals | undefined>;
};

const project = process.cwd();

/**
 * Calls the command line without the half second that a process takes to start. The test waits until every thread that
 * the call started has ended, so one that forgets to close its engine never returns.
 */
export async function cogvideox(
  args: readonly string[],
  { cwd = project }: { readonly cwd?: string } = {},
): Promise<Ended> {
  const stdout = capture(process.stdout);
  const stderr = capture(process.stderr);
  const threads = watchThreads();
  process.chdir(cwd);
  try {
    const status = await main(args);
    await threads.ended();
    return { status, stdout: stdout.text(), stderr: stderr.text() };
  } finally {
    process.chdir(project);
    for (const watched of [stdout, stderr, threads]) watched.stop();
  }
}

/** Runs `node bin/cogvideox.mjs` with these arguments to its end. */
export function cogvideoxProcess(args: readonly string[], options: ProcessOptions = {}): Promise<Ended> {
  return runProcess([join(project, "bin/cogvideox.mjs"), ...args], options);
}

/** Runs Node with these arguments to its end. */
export function runProcess(
  args: readonly string[],
  { cwd = project, env = {}, onStderr, onStdout }: ProcessOptions = {},
): Promise<Ended> {
  const child = spawn(process.execPath, args, {
    cwd,
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  let stdout = "";
  let stderr = "";
  return new Promise((resolve, reject) => {
    let sent = false;
    const send = (signal: NodeJS.Signals | undefined) => {
      if (signal !== undefined && !sent) sent = child.kill(signal);
    };
    child.stdout.on("data", (chunk: Buffer) => {
      stdout += chunk.toString();
      if (onStdout) onStdout(stdout, child.stdout).then(send, reject);
    });
    child.stderr.on("data", (chunk: Buffer) => {
      stderr += chunk.toString();
      send(onStderr?.(stderr));
    });
    child.on("error", reject);
    child.on("close", (status) => resolve({ status, stdout, stderr }));
  });
}

/** Keeps what is written to a stream, and takes off the listeners that it has got when the capture stops. */
function capture(stream: NodeJS.WriteStream) {
  const { write } = stream;
  const before = stream.listeners("error");
  let text = "";
  stream.write = (chunk: string | Uint8Array) => {
    text += typeof chunk === "string" ? chunk : Buffer.from(chunk).toString();
    return true;
  };
  return {
    text: () => text,
    stop: () => {
      stream.write = write;
      for (const listener of stream.listeners("error"))
        if (!before.includes(listener)) stream.off("error", listener as () => void);
    },
  };
}

/** Follows the threads that start from now on. */
function watchThreads() {
  const running = new Set<Promise<unknown>>();
  const started = (worker: Worker) => {
    running.add(new Promise((resolve) => worker.once("exit", resolve)));
  };
  process.on("worker", started);
  return {
    ended: () => Promise.all(running),
    stop: () => void process.off("worker", started),
  };
}

/** JSON objects on stdout, one a line. */
export function jsonLines({ stdout }: Ended): Record<string, unknown>[] {
  return stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line));
}

/** A folder that is removed when the test ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "cogvideox-test-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
