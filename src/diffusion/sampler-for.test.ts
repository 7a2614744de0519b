/** @file The samplers against stored runs of the reference, and the choice among them. */
import { describe, expect, test } from "vitest";
import { floats32, readDiffusionFixture } from "../../test/helpers/diffusion-fixture.ts";
import { hashInput } from "../../test/helpers/hash-fill.ts";
import { ConfigError } from "../errors.ts";
import { createRng } from "./noise.ts";
import { type PlanOptions, type Sampler, startRun } from "./sampler.ts";
import { samplerFor } from "./sampler-for.ts";
import { parseSchedulerConfig } from "./schedule.ts";

const f32 = Math.fround;

/** Latents after every step, with 0.3 x - 0.1 as the model's output. */
function run(
  sampler: Sampler,
  numSteps: number,
  x: Float32Array,
  seed: number,
  options?: PlanOptions,
): Float32Array[] {
  const plan = sampler.prepare(numSteps, options);
  let state = startRun(x, createRng(seed));
  return plan.timesteps.map(() => {
    const prediction = state.latents.map((value) => f32(f32(0.3) * value) - f32(0.1));
    state = sampler.step(plan, state, prediction);
    return state.latents;
  });
}

type Trajectory = {
  config: { _class_name: string };
  numSteps: number;
  size: number;
  seed: number;
  strength: number;
  eta: number;
  timesteps: number[];
  latents: string[];
};

describe.each(readDiffusionFixture<Trajectory[]>("trajectories"))(
  "$config._class_name, $numSteps steps, $size numbers, strength $strength, eta $eta",
  ({ config, numSteps, size, seed, strength, eta, timesteps, latents }) => {
    const sampler = samplerFor(parseSchedulerConfig(config, "fixture"));
    const options = { strength, eta, parity: true };

    test("visits the reference's timesteps", () => {
      expect(sampler.prepare(numSteps, options).timesteps).toEqual(timesteps);
    });

    test("has the reference's latents after every step", () => {
      const states = run(sampler, numSteps, hashInput([1, size], 1004), seed, options);
      for (const [step, values] of states.entries()) {
        expect(values).toBeCloseToArray(floats32(latents[step]), { atol: 1e-6, rtol: 1e-6 });
      }
    });

    // The generic classes are not in this: their float32 square roots come from a library that may be off by one bit.
    test.runIf(config._class_name.startsWith("CogVideoX"))("has them bit for bit", () => {
      const states = run(sampler, numSteps, hashInput([1, size], 1004), seed, options);
      expect(states).toEqual(latents.map(floats32));
    });
  },
);

describe("the stored case", () => {
  const golden = readDiffusionFixture<Record<string, { shape: number[]; data: number[] }>>("golden");
  const official = {
    _class_name: "CogVideoXDDIMScheduler",
    beta_start: 0.00085,
    beta_end: 0.012,
    beta_schedule: "scaled_linear",
    clip_sample: false,
    prediction_type: "v_prediction",
    rescale_betas_zero_snr: true,
    timestep_spacing: "trailing",
  };
  const latents = hashInput([1, 2, 4, 2, 2], 1004);

  test.each([
    ["S_ddim10_shift1.0", "ddim", 1, 10],
    ["S_ddim10_shift3.0", "ddim", 3, 10],
    ["S_dpm10_shift1.0_seed0", "dpm", 1, 10],
    ["S_dpm10_shift3.0_seed0", "dpm", 3, 10],
    ["S_ddim_inverse5", "inverse", 3, 5],
  ] as const)("%s comes out", (name, choice, shift, numSteps) => {
    const config = parseSchedulerConfig({ ...official, snr_shift_scale: shift }, "test");
    const last = run(samplerFor(config, choice), numSteps, latents, 0).at(-1);
    expect(last).toBeCloseToArray(golden[name].data, { atol: 2e-6 });
  });

  test("S_ddim_generic_default4 comes out", () => {
    const sampler = samplerFor(parseSchedulerConfig({ _class_name: "DDIMScheduler" }, "test"));
    const last = run(sampler, 4, latents, 0).at(-1);
    expect(sampler.prepare(4).timesteps).toEqual([750, 500, 250, 0]);
    expect(last).toBeCloseToArray(golden.S_ddim_generic_default4.data, { atol: 2e-6 });
  });
});

describe("the choice of a sampler", () => {
  const config = (className: string) =>
    parseSchedulerConfig({ _class_name: className, snr_shift_scale: 3, timestep_spacing: "leading" }, "test");

  test.each([
    ["CogVideoXDDIMScheduler", undefined, "ddim", "leading"],
    ["CogVideoXDPMScheduler", undefined, "dpm", "leading"],
    ["DDIMScheduler", undefined, "generic-ddim", "leading"],
    ["DDIMInverseScheduler", undefined, "inverse-ddim", "leading"],
    ["CogVideoXDDIMScheduler", "ddim", "ddim", "leading"],
    ["CogVideoXDDIMScheduler", "dpm", "dpm", "trailing"],
    ["CogVideoXDPMScheduler", "ddim", "ddim", "trailing"],
    ["DDIMScheduler", "ddim", "generic-ddim", "leading"],
    ["CogVideoXDPMScheduler", "inverse", "inverse-ddim", "leading"],
  ] as const)("for %s and %s is %s with %s timesteps", (className, choice, name, spacing) => {
    const sampler = samplerFor(config(className), choice);
    expect(sampler.name).toBe(name);
    expect(sampler.config.timestepSpacing).toBe(spacing);
    expect(sampler.config.snrShiftScale).toBe(name === "ddim" || name === "dpm" ? 3 : 1);
  });

  test("refuses dpm for the generic classes", () => {
    expect(() => samplerFor(config("DDIMScheduler"), "dpm")).toThrow(ConfigError);
    expect(() => samplerFor(config("DDIMInverseScheduler"), "ddim")).toThrow(
      "scheduler ddim does not work with a checkpoint whose scheduler class is DDIMInverseScheduler",
    );
  });
});
