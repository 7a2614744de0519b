/**
 * @file Kills saved generations at random moments and lets them go on. Prints one line of JSON: how many kills landed
 * where, and whether every run came to the bytes of one that was left alone.
 *
 *     npx tsx bench/kill-resume.ts [--kills N] [--seed N] [--model DIR] [--cache CACHE] [--steps N]
 */
import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { killAtRandom, wholeNumber } from "./random-kills.ts";

const fixture = fileURLToPath(new URL("../test/fixtures/checkpoints/t2v-rope", import.meta.url));

const { values } = parseArgs({
  options: {
    kills: { type: "string", default: "20" },
    seed: { type: "string", default: "0" },
    model: { type: "string", default: fixture },
    cache: { type: "string" },
    steps: { type: "string", default: "200" },
  },
});

/**
 * Momentum, second order and fresh noise in every step: everything that a saved state can hold but what a cache keeps. So
 * many steps that those of a tiny model take as long as the program takes to start.
 */
const generate = [
  ...["generate", "a red circle moves right", "--model", resolve(values.model), "--seed", "7"],
  ...["--steps", values.steps, "--scheduler", "dpm", "--apg", "-o", "clip.mp4"],
  ...["--save-latents", "latents.safetensors"],
  ...(values.cache === undefined ? [] : ["--cache", values.cache]),
];
const generateSaved = [...generate, "--checkpoint-dir", "run", "--checkpoint-every", "5"];

await killAtRandom({
  kills: wholeNumber("kills", values.kills, 1),
  seed: wholeNumber("seed", values.seed, 0),
  places: ["beforeFirstCheckpoint", "betweenCheckpoints", "afterDecodingBegan"],
  whole: generate,
  // Before there is a job to go on with, a user would start anew.
  next: (cwd) => (existsSync(join(cwd, "run/job.json")) ? ["resume", "run"] : generateSaved),
  // The latents are written when the last step is done, right before they are decoded.
  placeIn: (cwd) => {
    if (existsSync(join(cwd, "latents.safetensors"))) return "afterDecodingBegan";
    return existsSync(join(cwd, "run/state.safetensors")) ? "betweenCheckpoints" : "beforeFirstCheckpoint";
  },
  differences,
});

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
