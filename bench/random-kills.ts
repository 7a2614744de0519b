/** @file Runs of the command line that are killed at random moments, go on each time, and are compared with one left alone. */
import { spawn } from "node:child_process";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createRng } from "../src/diffusion/noise.ts";
import { ConfigError } from "../src/errors.ts";
import { drawUniform } from "../src/train/diffusion/random.ts";

const cli = fileURLToPath(new URL("../bin/cogvideox.mjs", import.meta.url));

/** No run is killed more often than this; how often is drawn. */
const MOST_KILLS_OF_A_RUN = 5;

/** What is killed, and how it is told whether that did harm. `P` names how far a run can have come. */
export type Killing<P extends string> = {
  readonly kills: number;
  readonly seed: number;
  readonly places: readonly P[];
  /** Arguments of the run that is left alone. */
  readonly whole: readonly string[];
  /** Arguments of the next call of a run that is killed, in its folder. */
  readonly next: (cwd: string) => readonly string[];
  /** How far the run in this folder had come, as its files tell. */
  readonly placeIn: (cwd: string) => P;
  /** What sets the files of a killed run apart from those of the whole one. */
  readonly differences: (whole: string, cwd: string) => Promise<readonly string[]>;
};

/** Kills until there have been enough, and prints one line of JSON; the status is 1 where a run came to other bytes. */
export async function killAtRandom<P extends string>(killing: Killing<P>): Promise<void> {
  const { kills, seed, places } = killing;
  const rng = createRng(seed);
  const started = performance.now();
  const scratch = await mkdtemp(join(tmpdir(), "cogvideox-kills-"));
  try {
    const whole = join(scratch, "whole");
    await mkdir(whole);
    await endsBefore(killing.whole, whole);
    let unkilledMs = performance.now() - started;
    const landed = Object.fromEntries(places.map((place) => [place, 0])) as Record<P, number>;
    let [runs, done, identical] = [0, 0, true];
    while (done < kills) {
      const cwd = join(scratch, `run-${++runs}`);
      await mkdir(cwd);
      const begun = performance.now();
      const wanted = Math.min(kills - done, 1 + Math.floor(MOST_KILLS_OF_A_RUN * drawUniform(rng)));
      const { found, lastMs } = await killedRun(killing, cwd, wanted, () => unkilledMs * drawUniform(rng));
      for (const place of found) landed[place]++;
      done += found.length;
      // The machine may have become faster, so that all moments come too late, or slower, so that they come too early.
      unkilledMs = found.length === 0 ? performance.now() - begun : Math.max(unkilledMs, lastMs);
      const faults = await killing.differences(whole, cwd);
      identical &&= faults.length === 0;
      const [where, what] = [found.join(", ") || "never", faults.join(", ") || "the same bytes"];
      console.error(`run ${runs}: killed ${where}; ${what}`);
      await rm(cwd, { recursive: true, force: true });
    }
    const seconds = Math.round((performance.now() - started) / 1000);
    const unkilledSeconds = Math.round(unkilledMs / 100) / 10;
    console.log(JSON.stringify({ kills: done, runs, ...landed, seconds, unkilledSeconds, identical }));
    process.exitCode = identical ? 0 : 1;
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/**
 * A run that is killed up to so many times, going on each time, and then left to end: where the kills landed, and how
 * long its last call took.
 */
async function killedRun<P extends string>(
  { next, placeIn }: Killing<P>,
  cwd: string,
  wanted: number,
  momentMs: () => number,
): Promise<{ readonly found: readonly P[]; readonly lastMs: number }> {
  const found: P[] = [];
  for (;;) {
    const begun = performance.now();
    const hasEnded = await endsBefore(next(cwd), cwd, found.length < wanted ? momentMs() : undefined);
    if (hasEnded) return { found, lastMs: performance.now() - begun };
    found.push(placeIn(cwd));
  }
}

/** Whether a call of the command line has ended before it was killed. @throws Error when it fails by itself */
function endsBefore(args: readonly string[], cwd: string, killAfterMs?: number): Promise<boolean> {
  const child = spawn(process.execPath, [cli, ...args], { cwd, stdio: ["ignore", "ignore", "pipe"] });
  const timer = killAfterMs === undefined ? undefined : setTimeout(() => child.kill("SIGKILL"), killAfterMs);
  let stderr = "";
  child.stderr.on("data", (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  return new Promise((done, reject) => {
    child.on("error", reject);
    child.on("close", (status, signal) => {
      clearTimeout(timer);
      if (status === 0 || signal === "SIGKILL") done(status === 0);
      else reject(new Error(`cogvideox ${args[0]} ended with status ${status}:\n${stderr}`));
    });
  });
}

/** The value of an option that counts something. */
export function wholeNumber(name: string, text: string, least: number): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= least) return value;
  throw new ConfigError(`--${name} must be a whole number from ${least} on, got ${text}`);
}
