/** @file Trains recipes of recipes/ablations with other seeds, several at once, each on a processor core of its own. */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseDocument } from "yaml";
import { readMetrics, seriesOf } from "../src/train/run/metrics.ts";

/** A recipe of recipes/ablations with a seed, for so many steps, in a folder of runs. */
export type AblationRun = {
  readonly recipe: string;
  readonly seed: number;
  readonly steps: number;
  readonly runs: string;
};

/** The folder of a run. */
export function folderOf({ recipe, seed, steps, runs }: AblationRun): string {
  return join(runs, `${recipe}-${steps}-${seed}`);
}

/** Whether a run has its last measurement. */
export async function isDone(run: AblationRun): Promise<boolean> {
  const metrics = await readMetrics(join(folderOf(run), "metrics.jsonl"));
  return seriesOf(metrics, "validation").steps.at(-1) === run.steps;
}

/**
 * Trains runs that are not done, `jobs` at once; what was stopped goes on where it was. A run that fails leaves its log
 * and stops none of the others; an interrupt is passed on to them by the terminal, and no more are begun.
 */
export async function runAll(runs: readonly AblationRun[], jobs: number): Promise<void> {
  const waiting: AblationRun[] = [];
  for (const run of runs) if (!(await isDone(run))) waiting.push(run);
  let isStopped = false;
  process.once("SIGINT", () => {
    isStopped = true;
  });
  const start = performance.now();
  const total = waiting.length;
  let done = 0;
  const work = async (core: number) => {
    for (let run = waiting.shift(); run !== undefined && !isStopped; run = waiting.shift()) {
      const seconds = await train(run, core);
      const outcome = seconds === null ? `failed, see ${folderOf(run)}.log` : `${seconds.toFixed(0)} s`;
      const each = (performance.now() - start) / ++done;
      const left = Math.ceil(((total - done) * each) / 60_000);
      console.error(`${folderOf(run)}: ${outcome}  (${done} of ${total}, about ${left} min left)`);
    }
  };
  await Promise.all(Array.from({ length: jobs }, (_, core) => work(core)));
}

/** Seconds of the training, null where it did not come to its end. */
async function train(run: AblationRun, core: number): Promise<number | null> {
  const folder = folderOf(run);
  mkdirSync(run.runs, { recursive: true });
  const file = `${folder}.yaml`;
  writeFileSync(file, recipeText(run));
  const resume = existsSync(join(folder, "run.json")) ? ["--resume"] : [];
  const command = ["node", "bin/cogvideox.mjs", "train", file, "--run", folder, ...resume];
  const [program, ...args] = hasTaskset() ? ["taskset", "-c", String(core), ...command] : command;
  const log = openSync(`${folder}.log`, "a");
  const start = performance.now();
  const status = await new Promise<number | null>((resolve, reject) => {
    const child = spawn(program, args, { stdio: ["ignore", log, log] });
    child.once("error", reject);
    child.once("close", resolve);
  });
  return status === 0 ? (performance.now() - start) / 1000 : null;
}

/** The recipe with the run's seed for weights and draws; all runs share their latents. */
function recipeText({ recipe, seed, steps, runs }: AblationRun): string {
  const document = parseDocument(readFileSync(join("recipes/ablations", `${recipe}.yaml`), "utf8"));
  document.set("seed", seed);
  document.setIn(["model", "new", "seed"], seed);
  document.set("cache", join(runs, "cache"));
  document.setIn(["transformer", "stages", 0, "steps"], steps);
  return String(document);
}

/** Pins a process to a core; only Linux has it. */
function hasTaskset(): boolean {
  return spawnSync("taskset", ["--version"]).status === 0;
}
