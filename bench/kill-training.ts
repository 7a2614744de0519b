/**
 * @file Kills training at random moments and lets it go on. Prints one line of JSON: how many kills landed where, and
 * whether every run came to the weights, moments, averages and losses of one that was left alone.
 *
 *     npx tsx bench/kill-training.ts [--kills N] [--seed N] [--recipe FILE]
 */
import { existsSync, readdirSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { readMetrics } from "../src/train/run/metrics.ts";
import { killAtRandom, wholeNumber } from "./random-kills.ts";

const tiny = fileURLToPath(new URL("kill-training.yaml", import.meta.url));

const { values } = parseArgs({
  options: {
    kills: { type: "string", default: "10" },
    seed: { type: "string", default: "0" },
    recipe: { type: "string", default: tiny },
  },
});

/** Files of a run that tell when, where and how fast it was trained, and so differ in any two. */
const OF_THE_DAY = /^(run\.json|metrics\.jsonl|events\.out\.tfevents\..*|cache\/digests\/.*)$/;

const train = ["train", resolve(values.recipe), "--run", "run"];

await killAtRandom({
  kills: wholeNumber("kills", values.kills, 1),
  seed: wholeNumber("seed", values.seed, 0),
  places: ["beforeFirstCheckpoint", "betweenCheckpoints", "afterLastStep"],
  whole: train,
  next: (cwd) => (existsSync(join(cwd, "run/run.json")) ? [...train, "--resume"] : train),
  placeIn: (cwd) => {
    if (existsSync(join(cwd, "run/output"))) return "afterLastStep";
    const checkpoints = join(cwd, "run/checkpoints");
    const isSaved =
      existsSync(checkpoints) && readdirSync(checkpoints).some((name) => name.startsWith("step-"));
    return isSaved ? "betweenCheckpoints" : "beforeFirstCheckpoint";
  },
  differences,
});

/** What sets a killed run apart from one that was left alone: files of other bytes, missing or left behind, and losses. */
async function differences(whole: string, cwd: string): Promise<string[]> {
  const [expected, made] = [join(whole, "run"), join(cwd, "run")];
  const [names, found] = [await filesIn(expected), await filesIn(made)];
  const faults = found.filter((name) => !names.includes(name)).map((name) => `${name} was left behind`);
  for (const name of names) {
    const isThere = found.includes(name);
    const isSame = isThere && (await readFile(join(made, name))).equals(await readFile(join(expected, name)));
    if (!isSame) faults.push(`${name} ${isThere ? "differs" : "is missing"}`);
  }
  if ((await lossesOf(made)) !== (await lossesOf(expected))) faults.push("losses differ");
  return faults;
}

/** Files at any depth whose bytes must be the same. */
async function filesIn(run: string): Promise<string[]> {
  const entries = await readdir(run, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name).slice(run.length + sep.length))
    .filter((name) => !OF_THE_DAY.test(name))
    .sort();
}

/** Stage, step, loss and norm of the gradient of every step, as text. */
async function lossesOf(run: string): Promise<string> {
  const metrics = await readMetrics(join(run, "metrics.jsonl"));
  return JSON.stringify(
    metrics.map(({ stage, step, loss, gradientNorm }) => [stage, step, loss, gradientNorm]),
  );
}
