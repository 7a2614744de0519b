/**
 * @file Kills runs of the command line at random moments and lets them go on. Prints one line of JSON: how many kills
 * landed where, and whether every run came to the bytes of one that was left alone.
 *
 *     npx tsx bench/kill-resume.ts [--kills N] [--seed N] [--model DIR]
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { createRng } from "../src/diffusion/noise.ts";
import { ConfigError } from "../src/errors.ts";
import { drawUniform } from "../src/train/diffusion/random.ts";

const cli = fileURLToPath(new URL("../bin/cogvideox.mjs", import.meta.url));
const fixture = fileURLToPath(new URL("../test/fixtures/checkpoints/t2v-rope", import.meta.url));

const { values } = parseArgs({
  options: {
    kills: { type: "string", default: "20" },
    seed: { type: "string", default: "0" },
    model: { type: "string", default: fixture },
  },
});
const kills = wholeNumber("kills", values.kills, 1);
const rng = createRng(wholeNumber("seed", values.seed, 0));

/**
 * Momentum, second order and fresh noise in every step: everything that a saved state can hold. So many steps that those
 * of a tiny model take as long as the program takes to start.
 */
const generate = [
  ...["generate", "a red circle moves right", "--model", resolve(values.model), "--seed", "7"],
  ...["--steps", "200", "--scheduler", "dpm", "--apg", "-o", "clip.mp4"],
  ...["--save-latents", "latents.safetensors"],
];
const generateSaved = [...generate, "--checkpoint-dir", "run", "--checkpoint-every", "5"];

/** No run is killed more often than this; how often is drawn. */
const MOST_KILLS_OF_A_RUN = 5;

/** How far a run had come when it was killed, as its files tell. */
type Place = "beforeFirstCheckpoint" | "betweenCheckpoints" | "afterDecodingBegan";

const started = performance.now();
const scratch = await mkdtemp(join(tmpdir(), "cogvideox-kills-"));
try {
  const whole = join(scratch, "whole");
  await mkdir(whole);
  await endsBefore(generate, whole);
  let unkilledMs = performance.now() - started;
  const landed = { beforeFirstCheckpoint: 0, betweenCheckpoints: 0, afterDecodingBegan: 0 };
  let [runs, done, identical] = [0, 0, true];
  while (done < kills) {
    const cwd = join(scratch, `run-${++runs}`);
    await mkdir(cwd);
    const begun = performance.now();
    const wanted = Math.min(kills - done, 1 + Math.floor(MOST_KILLS_OF_A_RUN * drawUniform(rng)));
    const places = await killedRun(cwd, wanted, () => unkilledMs * drawUniform(rng));
    for (const place of places) landed[place]++;
    done += places.length;
    // The machine may have become faster, so that all moments come too late.
    if (places.length === 0) unkilledMs = performance.now() - begun;
    const faults = await differences(whole, cwd);
    identical &&= faults.length === 0;
    const [where, what] = [places.join(", ") || "never", faults.join(", ") || "the same bytes"];
    console.error(`run ${runs}: killed ${where}; ${what}`);
  }
  const seconds = Math.round((performance.now() - started) / 1000);
  const unkilledSeconds = Math.round(unkilledMs / 100) / 10;
  console.log(JSON.stringify({ kills: done, runs, ...landed, seconds, unkilledSeconds, identical }));
  process.exitCode = identical ? 0 : 1;
} finally {
  await rm(scratch, { recursive: true, force: true });
}

/** A run that is killed up to so many times, going on each time, and then left to end; where the kills landed. */
async function killedRun(cwd: string, wanted: number, momentMs: () => number): Promise<Place[]> {
  const places: Place[] = [];
  for (;;) {
    // Before there is a job to go on with, a user would start anew.
    const args = existsSync(join(cwd, "run/job.json")) ? ["resume", "run"] : generateSaved;
    if (await endsBefore(args, cwd, places.length < wanted ? momentMs() : undefined)) return places;
    places.push(placeIn(cwd));
  }
}

/** The latents are written when the last step is done, right before they are decoded. */
function placeIn(cwd: string): Place {
  if (existsSync(join(cwd, "latents.safetensors"))) return "afterDecodingBegan";
  return existsSync(join(cwd, "run/state.safetensors")) ? "betweenCheckpoints" : "beforeFirstCheckpoint";
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

/** What sets a killed run's files apart from those of one that was left alone: other bytes, missing, or left behind. */
async function differences(whole: string, cwd: string): Promise<string[]> {
  const [expected, made] = await Promise.all([whole, cwd].map((folder) => readdir(folder)));
  const left = [...made, ...(await readdir(join(cwd, "run"))).map((name) => `run/${name}`)].filter(
    (name) => !["run", "run/job.json", ...expected].includes(name),
  );
  const other: string[] = [];
  for (const name of expected) {
    const isThere = made.includes(name);
    const isSame = isThere && (await readFile(join(cwd, name))).equals(await readFile(join(whole, name)));
    if (!isSame) other.push(name);
  }
  return [...other.map((name) => `${name} differs`), ...left.map((name) => `${name} was left behind`)];
}

function wholeNumber(name: string, text: string, least: number): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= least) return value;
  throw new ConfigError(`--${name} must be a whole number from ${least} on, got ${text}`);
}
