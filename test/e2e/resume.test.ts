/** @file Runs that are killed go on to the same bytes. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { createRng } from "../../src/diffusion/noise.ts";
import { startRun } from "../../src/diffusion/sampler.ts";
import { readRunState, writeRunState } from "../../src/pipeline/resume.ts";
import {
  cogvideox,
  cogvideoxProcess,
  type Ended,
  jsonLines,
  temporaryFolder,
} from "../helpers/command-line.ts";
import { recorded } from "../helpers/tiny-checkpoint.ts";

const model = recorded("t2v-sincos");
/** Momentum, second order and fresh noise in every step: everything a state can hold. */
const args = [
  ...["generate", "A red circle moves left.", "--model", model, "--seed", "7", "--steps", "8"],
  ...["--scheduler", "dpm", "--apg", "--json", "-o", "clip.mp4", "--save-latents", "latents.safetensors"],
];
const saved = [...args, "--checkpoint-dir", "run", "--checkpoint-every", "3"];
const made = ["clip.mp4", "latents.safetensors"];

describe("a state", () => {
  test("comes back from its file bit for bit", async () => {
    const file = join(temporaryFolder(), "state.safetensors");
    const rng = createRng(5);
    const state = {
      ...startRun(Float32Array.of(1.5, Number.NaN, -0, Infinity), rng),
      step: 3,
      history: [Float32Array.of(1e-45, 0, 1, 2)],
      momentum: Float32Array.of(2, 3, 4, 5),
    };
    const cache = {
      step: 2,
      memory: { threshold: Infinity, none: null },
      tensors: new Map([["a", Uint8Array.of(7)]]),
    };
    await writeRunState(file, { state, cache });
    expect(await readRunState(file)).toEqual({ state, cache });
  });

  test("is refused where the file holds something else", async () => {
    const file = join(recorded("t2v-sincos"), "vae/diffusion_pytorch_model.safetensors");
    await expect(readRunState(file)).rejects.toThrow(/does not hold the state of a run/);
  });
});

test("a run that is killed at any moment goes on to the same files, and nothing else is left", async () => {
  const whole = temporaryFolder();
  expect((await cogvideox(args, { cwd: whole })).status).toBe(0);
  for (const marker of ["step 2/8", "step 5/8", "step 8/8"]) {
    const cwd = temporaryFolder();
    const killed = await cogvideoxProcess(saved, {
      cwd,
      onStderr: (text) => (text.includes(marker) ? "SIGKILL" : undefined),
    });
    expect(killed.status).toBeNull();
    const resumed = await cogvideox(["resume", "run", "--json"], { cwd });
    expect(resumed.stderr).not.toContain("error");
    expect(resumed.status).toBe(0);
    if (marker !== "step 2/8") expect(firstStep(resumed)).toBeGreaterThan(3);
    for (const name of made)
      expect(readFileSync(join(cwd, name)).equals(readFileSync(join(whole, name))), name).toBe(true);
    expect(readdirSync(cwd).sort()).toEqual([...made, "run"].sort());
    expect(readdirSync(join(cwd, "run"))).toEqual(["job.json"]);
    const again = await cogvideox(["resume", "run"], { cwd });
    expect(again.stderr).toMatch(/is finished/);
  }
}, 180_000);

function firstStep(ended: Ended): number {
  const step = jsonLines(ended).find(({ event }) => event === "step");
  return step ? (step.step as number) : Number.POSITIVE_INFINITY;
}

test("folders that hold no run, a broken one, or an unfinished one are refused in a sentence", async () => {
  const cwd = temporaryFolder();
  const none = await cogvideox(["resume", "nowhere"], { cwd });
  expect(none.stderr).toMatch(/holds no run: there is no .*job\.json/);
  expect(none.status).toBe(2);
  expect(existsSync(join(cwd, "nowhere"))).toBe(false);
  await cogvideox([...saved, "--checkpoint-dir", "run"], { cwd });
  const job = JSON.parse(readFileSync(join(cwd, "run/job.json"), "utf8"));
  const spoil = (change: object) =>
    writeFileSync(join(cwd, "run/job.json"), JSON.stringify({ ...job, ...change }));
  spoil({ done: 0 });
  const twice = await cogvideox(saved, { cwd });
  expect(twice.stderr).toMatch(/holds a run that is not finished; go on with it/);
  spoil({ done: 0, version: "0.0.0" });
  expect((await cogvideox(["resume", "run"], { cwd })).stderr).toMatch(/written by version 0\.0\.0/);
  spoil({ prompts: 3 });
  expect((await cogvideox(["resume", "run"], { cwd })).stderr).toMatch(/job\.json is damaged/);
  spoil({ done: 0 });
  writeFileSync(join(cwd, "run/state.safetensors"), "nothing");
  const broken = await cogvideox(["resume", "run"], { cwd });
  expect(broken.stderr).toMatch(/state\.safetensors/);
  expect(broken.stderr).not.toMatch(/\n {4}at /);
  expect(broken.status).toBe(1);
});
