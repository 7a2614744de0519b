/** @file Coefficients of DDIM and DPM against the published values, and the count of noise draws. */
import { describe, expect, test } from "vitest";
import { hashInput } from "../../test/helpers/hash-fill.ts";
import { ddimCoefficients } from "./ddim.ts";
import { dpmCoefficients, dpmSampler, lambda } from "./dpm.ts";
import { createRng, drawNormals, restoreRng } from "./noise.ts";
import { nextRange, startRun } from "./sampler.ts";
import { noiseSchedule, parseSchedulerConfig } from "./schedule.ts";

const config = parseSchedulerConfig(
  {
    _class_name: "CogVideoXDPMScheduler",
    prediction_type: "v_prediction",
    rescale_betas_zero_snr: true,
    timestep_spacing: "trailing",
    snr_shift_scale: 1,
  },
  "test",
);
const { alphaBar } = noiseSchedule(config);

describe("coefficients of 50 steps", () => {
  test.each([
    [999, 0.999957105158316, 0.00926217271489516],
    [979, 0.9998552943683037, 0.01010804314509036],
    [499, 0.9816181847759549, 0.03632315636851624],
    [19, 0, 1],
  ])("are the published ones for DDIM at timestep %i", (t, forLatents, forOriginal) => {
    const coefficients = ddimCoefficients(alphaBar[t], t >= 20 ? alphaBar[t - 20] : 1);
    expect(coefficients.forLatents).toBeCloseTo(forLatents, 13);
    expect(coefficients.forOriginal).toBeCloseTo(forOriginal, 13);
  });

  test.each([
    [979, 0.7378734862593341, 0.4780603963088363, -0.01494099761266826, 0.878124541419584],
    [499, 0.07247342958777714, 0.912993708255863, -0.07010697755558848, 0.31385665255474404],
  ])("are the published ones for DPM at timestep %i", (t, h, forLatents, forOriginal, forNoise) => {
    const c = dpmCoefficients(alphaBar[t], alphaBar[t - 20]);
    expect([c.h, c.forLatents, c.forOriginal, c.forNoise]).toBeCloseToArray(
      [h, forLatents, forOriginal, forNoise],
      {
        atol: 1e-12,
      },
    );
  });

  test("of the second-order term are the published ones at timestep 499", () => {
    const [before, now, next] = [519, 499, 479].map((t) => lambda(alphaBar[t]));
    expect((now - before) / (next - now)).toBeCloseTo(1.0184350997561613, 11);
  });
});

describe("infinite log-SNR", () => {
  test("without signal leaves the predicted video and fresh noise", () => {
    const c = dpmCoefficients(0, 0.25);
    expect(c).toEqual({ h: Infinity, forLatents: 0, forOriginal: -0.5, forNoise: Math.sqrt(0.75) });
  });

  test("without noise leaves the predicted video alone", () => {
    expect(dpmCoefficients(0.9, 1)).toEqual({ h: Infinity, forLatents: 0, forOriginal: -1, forNoise: 0 });
    expect(dpmCoefficients(0, 1)).toEqual({ h: Infinity, forLatents: 0, forOriginal: -1, forNoise: 0 });
  });
});

/** x^ = 0.6 x - 0.2 as the model's clean latents, given as the velocity that says so. */
const clean = (x: number) => 0.6 * x - 0.2;

/** The latents that steps with no noise added lead to at timestep 19, from 0.8 at timestep 899. */
function withoutNoise(numSteps: number): number {
  const sampler = dpmSampler(config);
  const plan = sampler.prepare(numSteps, { strength: 0.9 });
  let state = startRun(Float32Array.of(0.8), createRng(0));
  while (plan.timesteps[state.step] > 19) {
    const { alphaBar: now, nextAlphaBar } = nextRange(plan, state);
    const prediction = state.latents.map((x) => (Math.sqrt(now) * x - clean(x)) / Math.sqrt(1 - now));
    const rng = restoreRng(state.rng);
    const draws = [drawNormals(rng, 1), drawNormals(rng, 1)];
    const noise = draws[state.history.length > 0 ? 1 : 0];
    const { forNoise } = dpmCoefficients(now, nextAlphaBar);
    const next = sampler.step(plan, state, prediction);
    state = { ...next, latents: next.latents.map((x, i) => x - forNoise * noise[i]) };
  }
  return state.latents[0];
}

/** The same by d(x / sigma) / d lambda = -x / sigma + 2 e^lambda x^, in many steps of Runge and Kutta. */
function solved(): number {
  const sigma = (l: number) => 1 / Math.sqrt(1 + Math.exp(2 * l));
  const slope = (l: number, y: number) => -y + 2 * Math.exp(l) * clean(sigma(l) * y);
  const [from, to] = [lambda(alphaBar[899]), lambda(alphaBar[19])];
  const h = (to - from) / 4000;
  let y = 0.8 / sigma(from);
  for (let i = 0; i < 4000; i++) {
    const l = from + i * h;
    const k1 = slope(l, y);
    const k2 = slope(l + h / 2, y + (h / 2) * k1);
    const k3 = slope(l + h / 2, y + (h / 2) * k2);
    const k4 = slope(l + h, y + h * k3);
    y += (h / 6) * (k1 + 2 * k2 + 2 * k3 + k4);
  }
  return y * sigma(to);
}

test("without its noise it is a second-order solution of its differential equation", () => {
  const limit = solved();
  const errors = [50, 100, 200].map((n) => Math.abs(withoutNoise(n) - limit));
  expect(errors[0] / errors[1]).toBeGreaterThan(3);
  expect(errors[1] / errors[2]).toBeGreaterThan(3);
  expect(Math.abs(withoutNoise(1000) - limit)).toBeLessThan(1e-4);
});

test.each([
  [10, [1, 3, 5, 7, 9, 11, 13, 15, 17, 18]], // the last step ends clean: one draw
  [7, [1, 3, 5, 7, 9, 11, 13]], // the last step ends at timestep 0: two draws
  [1, [1]],
])("draws noise as often as the reference in %i steps", (numSteps, totals) => {
  const sampler = dpmSampler(config);
  const plan = sampler.prepare(numSteps, { parity: true });
  let state = startRun(hashInput([16], 1), createRng(0));
  for (const total of totals) {
    state = sampler.step(plan, state, state.latents);
    const rng = createRng(0);
    drawNormals(rng, 16 * total);
    expect(drawNormals(restoreRng(state.rng), 16)).toEqual(drawNormals(rng, 16));
  }
});
