/** @file Folders of saved runs with anything wrong in them: a sentence, or a run, and never a stack. */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { GenerateValues } from "../../src/cli/generate-table.ts";
import { RunFolder } from "../../src/cli/run-folder.ts";
import { createRng } from "../../src/diffusion/noise.ts";
import { startRun } from "../../src/diffusion/sampler.ts";
import { ConfigError, WeightsError } from "../../src/errors.ts";
import { readRunState, writeRunState } from "../../src/pipeline/resume.ts";
import { cogvideox, temporaryFolder } from "../helpers/command-line.ts";

const values = { steps: 3, guidance: 2.5, apg: true, lora: ["a", "b:2"] } as unknown as GenerateValues;

/** A run that has not begun, and the content of its job file. */
async function savedRun(more: object = {}) {
  const folder = join(temporaryFolder(), "run");
  await RunFolder.create(folder, { values: { ...values, ...more }, prompts: ["a"], seeds: [1] });
  const file = join(folder, "job.json");
  return { folder, file, job: JSON.parse(readFileSync(file, "utf8")) };
}

/** Throws unless this works or fails in a sentence. */
async function readsOrRefuses(read: () => Promise<unknown>): Promise<void> {
  await read().catch((error) => {
    if (!(error instanceof ConfigError || error instanceof WeightsError)) throw error;
  });
}

test("a job comes back as it was", async () => {
  const { folder } = await savedRun();
  expect((await RunFolder.open(folder)).job).toEqual({ values, prompts: ["a"], seeds: [1] });
});

test("whoever takes a run over removes what its writer left half written", async () => {
  const { folder, file } = await savedRun();
  const before = JSON.parse(readFileSync(file, "utf8"));
  const id = "12345678-1234-1234-1234-123456789012";
  for (const name of [`.${id}.part`, `.${id}.safetensors.part`]) writeFileSync(join(folder, name), "half");
  await (await RunFolder.open(folder)).takeOver([]);
  expect(readdirSync(folder)).toEqual(["job.json"]);
  expect(JSON.parse(readFileSync(file, "utf8"))).toEqual({ ...before, pid: process.pid });
});

test.each<[string, object, RegExp]>([
  ["a number that is a word", { steps: "many" }, /damaged \(--steps must be a whole number, got "many"\)/],
  ["a choice that is none", { scheduler: "euler" }, /damaged \(--scheduler must be one of ddim, dpm/],
  ["an option that is none", { bananas: 1 }, /damaged \(unknown option --bananas/],
  ["an option that is nothing", { width: null }, /damaged \(--width must be a whole number, got "null"\)/],
])("a job with %s is refused with it", async (_, change, says) => {
  const { folder, file, job } = await savedRun();
  writeFileSync(file, JSON.stringify({ ...job, values: { ...job.values, ...change } }));
  await expect(RunFolder.open(folder)).rejects.toThrow(says);
});

test("a job with any field replaced is opened or refused in a sentence", async () => {
  const { folder, file, job } = await savedRun();
  const fields = [...Object.keys(job), "values.steps", "values.lora", "values.seed", "values.width"];
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...fields), fc.jsonValue(), async (field, value) => {
      const [outer, inner] = field.split(".");
      const changed = inner === undefined ? value : { ...job[outer], [inner]: value };
      writeFileSync(file, JSON.stringify({ ...job, [outer]: changed }));
      await readsOrRefuses(() => RunFolder.open(folder));
    }),
    { numRuns: 200 },
  );
});

test("a state with bytes changed or cut off is read or refused in a sentence", async () => {
  const file = join(temporaryFolder(), "state.safetensors");
  const state = { ...startRun(new Float32Array(8), createRng(1)), step: 2, history: [new Float32Array(8)] };
  await writeRunState(file, { state, cache: { memory: new Map([["a", Number.NaN]]) } });
  const whole = readFileSync(file);
  const bytes = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 });
  await fc.assert(
    fc.asyncProperty(bytes, fc.integer({ min: 1, max: whole.length }), async (changes, length) => {
      const damaged = Buffer.from(whole.subarray(0, length > whole.length / 2 ? whole.length : length));
      for (const [at, value] of changes) if (at < damaged.length) damaged[at] = value;
      writeFileSync(file, damaged);
      await readsOrRefuses(() => readRunState(file));
    }),
    { numRuns: 300 },
  );
});

test.each<[string, object]>([
  ["no random state", { rng: undefined }],
  ["a random state that is cut", { rng: { words: [1, 2], position: 0, cachedNormal: null } }],
  ["a history of another size", { history: [new Float32Array(3)] }],
  ["a momentum of another size", { momentum: new Float32Array(3) }],
  ["a step that is none", { step: -1 }],
  ["latents that are bytes", { latents: new Uint8Array(8) }],
])("a state with %s is refused", async (_, change) => {
  const file = join(temporaryFolder(), "state.safetensors");
  const state = { ...startRun(new Float32Array(8), createRng(1)), ...change };
  await writeRunState(file, { state: state as ReturnType<typeof startRun> });
  await expect(readRunState(file)).rejects.toThrow(/holds a run whose state is not complete/);
});

test.each<[string, object, string]>([
  ["a LoRA", { lora: ["one.safetensors:0.5"] }, "one.safetensors"],
  ["a LoRA in a folder", { lora: ["tuned", "one.safetensors"] }, "tuned/nested/weights.safetensors"],
  ["a tiny decoder", { decoder: "one.safetensors" }, "one.safetensors"],
  ["a cache's measurements", { cache: "teacache:coefficients=one.safetensors" }, "one.safetensors"],
  ["the model's measurements", { cache: "magcache", model: "tuned" }, "tuned/magcache.json"],
  ["the model's tiny decoder", { decoder: "tiny", model: "tuned" }, "tuned/taecvx.safetensors"],
])("a run that saw another file of %s does not go on", async (_, named, changed) => {
  const cwd = temporaryFolder();
  const at = (file: string) => join(cwd, file);
  mkdirSync(at("tuned/nested"), { recursive: true });
  const files = ["one.safetensors", "tuned/nested/weights.safetensors", "tuned/taecvx.safetensors"];
  for (const file of files) writeFileSync(at(file), "before");
  const absolute = JSON.parse(JSON.stringify(named).replace(/(["=])(one|tuned)/g, `$1${cwd}/$2`));
  const { folder } = await savedRun(absolute);
  await (await RunFolder.open(folder)).takeOver([]);
  writeFileSync(at(changed), "after");
  const asked = at(changed.replace(/nested.*/, "").replace(/\/$/, ""));
  await expect((await RunFolder.open(folder)).takeOver([])).rejects.toThrow(
    `${asked} has changed since the run was begun; it cannot go on with another file`,
  );
});

test("a run whose frames have changed, or whose folder is gone, does not go on", async () => {
  const frames = join(temporaryFolder(), "frames");
  mkdirSync(frames);
  writeFileSync(join(frames, "1.png"), "one");
  const { folder, file, job } = await savedRun({ video: frames });
  writeFileSync(join(frames, "2.png"), "two");
  const changed = await cogvideox(["resume", folder]);
  expect(changed).toMatchObject({ status: 2, stderr: expect.stringMatching(/frames has changed since/) });
  const gone = join(temporaryFolder(), "gone");
  writeFileSync(file, JSON.stringify({ ...job, cwd: gone }));
  const ended = await cogvideox(["resume", folder]);
  expect(ended.status).toBe(2);
  expect(ended.stderr).toBe(
    `error: the run was begun in the folder ${gone}, which cannot be entered any more\n`,
  );
  rmSync(folder, { recursive: true });
});
