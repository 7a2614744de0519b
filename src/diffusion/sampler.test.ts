/** @file One suite that every sampler passes. */
import { describe, expect, test } from "vitest";
import { hashInput } from "../../test/helpers/hash-fill.ts";
import { ConfigError, ShapeError } from "../errors.ts";
import { createRng } from "./noise.ts";
import { type Sampler, type SamplerState, type SamplingPlan, startRun } from "./sampler.ts";
import { samplerFor } from "./sampler-for.ts";
import { alphaBarAt, parseSchedulerConfig, schedulerClasses } from "./schedule.ts";

const official = {
  beta_start: 0.00085,
  beta_end: 0.012,
  beta_schedule: "scaled_linear",
  clip_sample: false,
  prediction_type: "v_prediction",
  rescale_betas_zero_snr: true,
  timestep_spacing: "trailing",
  snr_shift_scale: 1,
};
const samplers = schedulerClasses.map((_class_name) =>
  samplerFor(parseSchedulerConfig({ ...official, _class_name }, "test")),
);
const latents = hashInput([2, 20], 1004);

type Model = (state: SamplerState, timestep: number) => Float32Array;
/** A stand-in for the transformer: linear in the latents. */
const linearModel: Model = ({ latents: x }) => x.map((value) => 0.3 * value - 0.1);

function start(seed: number | bigint = 3): SamplerState {
  return startRun(latents, createRng(seed));
}

function run(
  sampler: Sampler,
  plan: SamplingPlan,
  model: Model,
  from = start(),
  until = plan.timesteps.length,
) {
  let state = from;
  while (state.step < until) state = sampler.step(plan, state, model(state, plan.timesteps[state.step]));
  return state;
}

const minus = (a: Float32Array, b: Float32Array) => a.map((value, i) => value - b[i]);

describe.each(samplers)("$name", (sampler) => {
  const isInverse = sampler.name === "inverse-ddim";

  test("is affine in the model's output", () => {
    const plan = sampler.prepare(10);
    const middle = run(sampler, plan, linearModel, start(), 4);
    const [u, v] = [hashInput([2, 20], 21), hashInput([2, 20], 22)];
    const step = (prediction: Float32Array) => sampler.step(plan, middle, prediction).latents;
    const zero = step(u.map(() => 0));
    const mixed = step(u.map((value, i) => 2 * value - 0.5 * v[i]));
    const [fromU, fromV] = [minus(step(u), zero), minus(step(v), zero)];
    const expected = zero.map((value, i) => value + 2 * fromU[i] - 0.5 * fromV[i]);
    expect(mixed).toBeCloseToArray(expected, { atol: 5e-6 });
    expect(fromU.some((value) => Math.abs(value) > 1e-3)).toBe(true);
  });

  test("gives the same bytes for the same seed", () => {
    const plan = sampler.prepare(10);
    expect(run(sampler, plan, linearModel)).toEqual(run(sampler, plan, linearModel));
  });

  test("gives the same bytes when saved and resumed at any step", () => {
    const expected = run(sampler, sampler.prepare(7), linearModel);
    for (let stop = 0; stop <= 7; stop++) {
      const saved = structuredClone(run(sampler, sampler.prepare(7), linearModel, start(), stop));
      expect(run(sampler, sampler.prepare(7), linearModel, saved)).toEqual(expected);
    }
  });

  test("leaves the state and the model's output as they are", () => {
    const plan = sampler.prepare(5);
    const state = run(sampler, plan, linearModel, start(), 2);
    const prediction = linearModel(state, 0);
    const before = structuredClone({ state, prediction });
    sampler.step(plan, state, prediction);
    expect({ state, prediction }).toEqual(before);
  });

  test.each([1, 2, 3, 7, 50, 61, 501, 1000])(
    "stays finite at zero terminal SNR with %i steps",
    (numSteps) => {
      const plan = sampler.prepare(numSteps);
      expect(plan.timesteps).toHaveLength(numSteps);
      expect(plan.schedule.alphaBar[999]).toBe(0);
      expect(run(sampler, plan, linearModel).latents.every(Number.isFinite)).toBe(true);
    },
  );

  test("counts steps and keeps the predicted clean latents of the last one", () => {
    const state = run(sampler, sampler.prepare(4), linearModel);
    expect(state.step).toBe(4);
    expect(state.history.map((entry) => entry.length)).toEqual([latents.length]);
  });

  test.runIf(!isInverse)("ends at the only video there is, when the model knows it", () => {
    const target = hashInput([2, 20], 33);
    const plan = sampler.prepare(10);
    const oracle: Model = ({ latents: x }, timestep) => {
      const alphaBar = alphaBarAt(plan.schedule, timestep);
      return x.map((value, i) => (Math.sqrt(alphaBar) * value - target[i]) / Math.sqrt(1 - alphaBar));
    };
    expect(run(sampler, plan, oracle).latents).toBeCloseToArray(target, { atol: 1e-5 });
  });

  test.runIf(!isInverse)(
    "forgets the starting noise in the first step without signal, but for the model",
    () => {
      const plan = sampler.prepare(1);
      const v = hashInput([2, 20], 5);
      const other = startRun(hashInput([2, 20], 6), createRng(3));
      expect(sampler.step(plan, start(), v).latents).toEqual(sampler.step(plan, other, v).latents);
    },
  );

  test("refuses a prediction of another size and a step after the last", () => {
    const plan = sampler.prepare(2);
    expect(() => sampler.step(plan, start(), new Float32Array(39))).toThrow(
      new ShapeError("the model's output has 39 elements, but must have 40 like the latents"),
    );
    const done = run(sampler, plan, linearModel);
    expect(() => sampler.step(plan, done, linearModel(done, 0))).toThrow(
      new ConfigError("the run has 2 steps and the state has done 2 of them"),
    );
  });

  test("refuses steps, strength and eta out of range", () => {
    expect(() => sampler.prepare(0)).toThrow("steps must be an integer in 1 to 1000, got 0");
    expect(() => sampler.prepare(5, { strength: 2 })).toThrow("strength must be in 0 to 1, got 2");
    expect(() => sampler.prepare(5, { eta: -1 })).toThrow("eta must be in 0 to 1, got -1");
  });

  test("a strength drops the first steps and leaves the others as they are", () => {
    const whole = sampler.prepare(50);
    const plan = sampler.prepare(50, { strength: 0.8 });
    expect(plan.timesteps).toEqual(whole.timesteps.slice(10));
    expect(plan.cleanerEnds).toEqual(whole.cleanerEnds.slice(10));
  });

  test.each([3, 7, 30, 61, 999])("begins every one of %i steps where the one before ended", (numSteps) => {
    const { timesteps, cleanerEnds } = sampler.prepare(numSteps);
    expect(cleanerEnds).toHaveLength(numSteps);
    if (isInverse) expect(cleanerEnds).toEqual([-1, ...timesteps.slice(0, -1)]);
    else expect(cleanerEnds).toEqual([...timesteps.slice(1), -1]);
  });

  test("is the reference's where the steps divide a thousand, and only there", () => {
    const same = (n: number) => {
      const { cleanerEnds } = sampler.prepare(n);
      return cleanerEnds.every((end, i) => Math.max(end, -1) === Math.max(legacy(n)[i], -1));
    };
    const legacy = (n: number) => sampler.prepare(n, { parity: true }).cleanerEnds;
    expect([1, 2, 4, 5, 8, 10, 20, 40, 50, 100, 250, 1000].filter((n) => !same(n))).toEqual([]);
    expect([3, 7, 30, 48, 61].filter(same)).toEqual([]);
  });

  test.runIf(!isInverse)("ends at the video the model knows in any number of steps", () => {
    const target = hashInput([2, 20], 33);
    const plan = sampler.prepare(7);
    const oracle: Model = ({ latents: x }, timestep) => {
      const alphaBar = alphaBarAt(plan.schedule, timestep);
      return x.map((value, i) => (Math.sqrt(alphaBar) * value - target[i]) / Math.sqrt(1 - alphaBar));
    };
    expect(run(sampler, plan, oracle).latents).toBeCloseToArray(target, { atol: 1e-5 });
    const legacy = sampler.prepare(7, { parity: true });
    const left = minus(run(sampler, legacy, oracle).latents, target);
    expect(Math.max(...left.map(Math.abs))).toBeGreaterThan(0.01); // noise that the reference leaves in the clip
  });
});

describe.each(samplers.slice(0, 2))("$name with SAT's noise levels", (sampler) => {
  const sat = { discretisation: "sat" } as const;

  test.each([1, 7, 50, 1000])(
    "is finite from a start without signal to a clean end in %i steps",
    (numSteps) => {
      const plan = sampler.prepare(numSteps, sat);
      expect(alphaBarAt(plan.schedule, plan.timesteps[0])).toBe(0);
      const target = hashInput([2, 20], 33);
      const oracle: Model = ({ latents: x }, timestep) => {
        const alphaBar = alphaBarAt(plan.schedule, timestep);
        return x.map((value, i) => (Math.sqrt(alphaBar) * value - target[i]) / Math.sqrt(1 - alphaBar));
      };
      expect(run(sampler, plan, oracle).latents).toBeCloseToArray(target, { atol: 1e-5 });
    },
  );

  test("makes nearly the same clip as with those of diffusers, and not the same", () => {
    const [ours, theirs] = [sampler.prepare(50), sampler.prepare(50, sat)].map(
      (plan) => run(sampler, plan, linearModel).latents,
    );
    const most = Math.max(...minus(ours, theirs).map(Math.abs));
    expect(most).toBeGreaterThan(1e-5);
    expect(most).toBeLessThan(1e-2);
  });

  test("rescales over the whole run where a strength leaves a part of it", () => {
    const [whole, part] = [sampler.prepare(50, sat), sampler.prepare(50, { ...sat, strength: 0.4 })];
    expect(part.schedule).toEqual(whole.schedule);
    expect(part.timesteps[0]).toBe(399);
  });

  test("refuses parity, which is diffusers' own", () => {
    expect(() => sampler.prepare(50, { ...sat, parity: true })).toThrow(
      /^parity repeats what diffusers does/,
    );
  });
});

test("SAT's noise levels are refused by samplers and schedules that SAT does not have", () => {
  const sat = { discretisation: "sat" } as const;
  expect(() => samplers[2].prepare(50, sat)).toThrow(/this is a DDIMScheduler; leave it at diffusers$/);
  const json = { ...official, _class_name: "CogVideoXDDIMScheduler", rescale_betas_zero_snr: false };
  expect(() => samplerFor(parseSchedulerConfig(json, "test")).prepare(50, sat)).toThrow(
    /whose rescale_betas_zero_snr is false; leave it at diffusers$/,
  );
});

test("inversion starts from clean latents and ends at what the model calls noise", () => {
  const sampler = samplers[3];
  const plan = sampler.prepare(10);
  const v = hashInput([2, 20], 7);
  const first = sampler.step(plan, start(), v);
  expect(first.history[0]).toEqual(latents);
  const beforeLast = run(sampler, plan, linearModel, start(), 9);
  const alphaBar = alphaBarAt(plan.schedule, 899);
  const noise = beforeLast.latents.map((x, i) => Math.sqrt(alphaBar) * v[i] + Math.sqrt(1 - alphaBar) * x);
  expect(sampler.step(plan, beforeLast, v).latents).toBeCloseToArray(noise, { atol: 1e-6 });
});
