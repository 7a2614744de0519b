/** @file Runs the real command line in a process of its own, as users do. */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { onTestFinished } from "vitest";

export type Ended = {
  /** Exit status; null where a signal ended the process. */
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
};

export type RunOptions = {
  readonly cwd?: string;
  /** Sees stderr as it grows; the returned signal is sent to the process, once. */
  readonly onStderr?: (text: string) => NodeJS.Signals | undefined;
  /** Sees stdout as it grows, with the stream it comes from. */
  readonly onStdout?: (text: string, stream: Readable) => void;
};

/** Runs `node bin/cogvideox.mjs` with these arguments to its end. */
export function cogvideox(
  args: readonly string[],
  { cwd = process.cwd(), onStderr, onStdout }: RunOptions = {},
): Promise<Ended> {
  const child = spawn(process.execPath, [join(process.cwd(), "bin/cogvideox.mjs"), ...args], {
    cwd,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stdout = "";
  let stderr = "";
  let signalled = false;
  child.stdout.on("data", (chunk: Buffer) => {
    stdout += chunk.toString();
    onStdout?.(stdout, child.stdout);
  });
  child.stderr.on("data", (chunk: Buffer) => {
    stderr += chunk.toString();
    const signal = signalled ? undefined : onStderr?.(stderr);
    signalled ||= signal !== undefined;
    if (signal !== undefined) child.kill(signal);
  });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (status) => resolve({ status, stdout, stderr }));
  });
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
