/** @file Training that is killed again and again ends with the weights of one that was left alone. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeModelFolder } from "../../src/train/recipe/model-folder.ts";
import { parseRecipe } from "../../src/train/recipe/parse-recipe.ts";
import { runRecipe } from "../../src/train/recipe/run-recipe.ts";
import { cogvideoxProcess, type Ended, jsonLines } from "../helpers/command-line.ts";
import { toyRecipe } from "../helpers/toy-recipe.ts";

const folder = mkdtempSync(join(tmpdir(), "cogvideox-kill-"));
const recipe = join(folder, "toy.yaml");
/** The same, which saves by itself at its end alone. */
const seldom = join(folder, "seldom.yaml");
/** More than ten runs come to before they are killed. */
const STEPS = 60;
const KILLS = 10;

beforeAll(async () => {
  const model = join(folder, "model");
  await makeModelFolder(model, parseRecipe(toyRecipe(), "toy.yaml"));
  const text = toyRecipe({ from: model, transformerSteps: STEPS }).replace("frames: 9", "frames: 1");
  writeFileSync(recipe, text.replace("every: 10", "every: 1"));
  writeFileSync(seldom, text.replace("every: 10", "every: 1000"));
  await runRecipe({ file: seldom, text }, { folder: join(folder, "whole") });
}, 600_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Trains in a process of its own; `kill` sees stdout and says when to kill. */
function train(name: string, kill?: (stdout: string) => Promise<boolean>): Promise<Ended> {
  const run = join(folder, name);
  const resume = existsSync(join(run, "run.json")) ? ["--resume"] : [];
  return cogvideoxProcess(["train", recipe, "--run", run, ...resume, "--json"], {
    onStdout: async (text) => ((await kill?.(text)) === true ? "SIGKILL" : undefined),
  });
}

const stateOf = (name: string) =>
  readFileSync(
    join(folder, name, "checkpoints", `step-${String(STEPS).padStart(8, "0")}`, "state.safetensors"),
  );

test("is killed ten times at random moments, loses nothing and ends with the same weights", async () => {
  const done: number[] = [];
  for (let kills = 0; kills < KILLS; kills++) {
    // Behind some steps of its own, or while it still starts, and a moment later: in a step, or while it saves.
    const steps = Math.floor(Math.random() * 4);
    const wait = Math.random() * 50;
    const killed = await train("killed", async (stdout) => {
      if (stdout.split('"event":"step"').length <= steps) return false;
      await new Promise((resolve) => setTimeout(resolve, wait));
      return true;
    });
    expect(killed.status, killed.stderr).toBeNull();
    done.push(Number(/"event":"stage".*"done":(\d+)/.exec(killed.stdout)?.[1] ?? 0));
  }
  expect(Math.max(...done)).toBeGreaterThan(2);
  const ended = await train("killed");
  expect(ended.status, ended.stderr).toBe(0);
  expect(jsonLines(ended).at(-1)).toMatchObject({ event: "done", steps: STEPS });
  expect(stateOf("killed").equals(stateOf("whole"))).toBe(true);
}, 600_000);

test("saves at Ctrl-C, leaves with 130, and goes on to the same weights", async () => {
  const run = join(folder, "stopped");
  const args = ["train", seldom, "--run", run, "--json"];
  const stopped = await cogvideoxProcess(args, {
    onStdout: async (text) => (text.split('"event":"step"').length > 3 ? "SIGINT" : undefined),
  });
  expect(stopped.status, stopped.stderr).toBe(130);
  const saved = jsonLines(stopped).filter(({ event }) => event === "saved");
  const steps = jsonLines(stopped).filter(({ event }) => event === "step");
  expect(saved).toEqual([{ event: "saved", step: steps.length }]);
  const ended = await cogvideoxProcess([...args, "--resume"]);
  expect(ended.status, ended.stderr).toBe(0);
  expect(jsonLines(ended).find(({ event }) => event === "step")).toMatchObject({ step: steps.length + 1 });
  expect(stateOf("stopped").equals(stateOf("whole"))).toBe(true);
}, 600_000);
