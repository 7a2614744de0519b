/** @file Tests of the sampler as a part of `cogvideox forward`, at the noise levels of diffusers and of SAT. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { cogvideox, temporaryFolder } from "../../test/helpers/command-line.ts";
import { hashInput } from "../../test/helpers/hash-fill.ts";
import { stored } from "../../test/helpers/recorded-case.ts";
import { recorded } from "../../test/helpers/tiny-checkpoint.ts";
import { createRng } from "../diffusion/noise.ts";
import { startRun } from "../diffusion/sampler.ts";
import { samplerFor } from "../diffusion/sampler-for.ts";
import { readScheduler } from "../pipeline/checkpoint.ts";
import { readFloats } from "../weights/read.ts";
import { writeSafetensors } from "../weights/write.ts";

const model = recorded("t2v-sincos");
const shape = [1, 2, 3];

/** Timesteps of a run of 30 steps, and the latents after its first step, which `forward` has written. */
async function sampled(...options: readonly string[]) {
  const folder = temporaryFolder();
  const [from, to] = ["in", "out"].map((name) => join(folder, `${name}.safetensors`));
  await writeSafetensors(from, {
    sample: { dtype: "F32", shape, data: hashInput(shape, 1) },
    model_output: { dtype: "F32", shape: [1, ...shape], data: hashInput(shape, 2) },
  });
  const files = ["--inputs", from, "-o", to];
  const ended = await cogvideox([
    "forward",
    "sampler",
    "--model",
    model,
    "--steps",
    "30",
    ...files,
    ...options,
  ]);
  if (ended.status !== 0) return { ended, isWritten: existsSync(to) };
  const [timesteps, samples] = await Promise.all(
    ["timesteps", "samples"].map(async (name) => [...(await readFloats(await stored(to, name)))]),
  );
  return { ended, timesteps, samples };
}

test("the sampler visits SAT's noise levels with --discretisation sat, as a run does", async () => {
  const sampler = samplerFor(await readScheduler(model));
  const plan = sampler.prepare(30, { discretisation: "sat" });
  const start = startRun(hashInput(shape, 1), createRng(0));
  const { latents } = sampler.step(plan, start, hashInput(shape, 2));
  const [own, sat] = [await sampled(), await sampled("--discretisation", "sat")];
  expect(sat).toMatchObject({ timesteps: plan.timesteps, samples: [...latents] });
  expect(sat.timesteps).not.toEqual(own.timesteps);
  expect(sat.samples).not.toEqual(own.samples);
  expect(await sampled("--discretisation", "diffusers")).toMatchObject({ samples: own.samples });
});

test.each([
  [["--scheduler", "inverse"], /this is a DDIMInverseScheduler; leave it at diffusers/],
  [["--parity"], /parity repeats what diffusers does, and the discretisation is sat/],
])("SAT's noise levels are refused with %j", async (options, says) => {
  const { ended, isWritten } = await sampled("--discretisation", "sat", ...options);
  expect(ended).toMatchObject({ status: 2, stderr: expect.stringMatching(says) });
  expect(isWritten).toBe(false);
});

test("a file that cannot be written is refused before anything is read", async () => {
  const call = ["forward", "sampler", "--model", model, "--inputs", "missing.safetensors"];
  const ended = await cogvideox([...call, "-o", join(temporaryFolder(), "nowhere/out.safetensors")]);
  expect(ended).toMatchObject({
    status: 2,
    stderr: expect.stringMatching(/nowhere is missing or not writable/),
  });
});
