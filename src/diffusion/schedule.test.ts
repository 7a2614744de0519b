/** @file Noise schedules against the reference and the published values, and the reading of configurations. */
import { describe, expect, test } from "vitest";
import { floats32, floats64, readDiffusionFixture } from "../../test/helpers/diffusion-fixture.ts";
import { ConfigError } from "../errors.ts";
import { alphaBarAt, noiseSchedule, parseSchedulerConfig } from "./schedule.ts";
import { samplingTimesteps } from "./timesteps.ts";

const official = {
  _class_name: "CogVideoXDDIMScheduler",
  beta_start: 0.00085,
  beta_end: 0.012,
  beta_schedule: "scaled_linear",
  prediction_type: "v_prediction",
  rescale_betas_zero_snr: true,
  timestep_spacing: "trailing",
};
const schedule = (fields: object) => noiseSchedule(parseSchedulerConfig({ ...official, ...fields }, "test"));

describe("alphaBar of the official configuration", () => {
  const published: Record<number, Record<number, number>> = {
    1: {
      0: 0.99915,
      1: 0.998233446140182,
      99: 0.888085894794318,
      199: 0.738700107422001,
      499: 0.242359166556145,
      749: 0.0331714828318627,
      899: 0.00303307237064754,
      959: 0.000375153340901613,
      979: 8.57878434005484e-5,
      998: 1.96788805662129e-7,
      999: 0,
    },
    3: {
      0: 0.997454327643007,
      1: 0.99480062642698,
      99: 0.730866866758863,
      199: 0.490373106500153,
      499: 0.0959695616907354,
      749: 0.0109658909253379,
      899: 0.000968787982023055,
      979: 2.71943604002177e-5,
      999: 0,
    },
  };
  test.each([1, 3])("has the published values with shift %i", (shift) => {
    const { alphaBar } = schedule({ snr_shift_scale: shift });
    for (const [timestep, value] of Object.entries(published[shift])) {
      expect(Math.abs(alphaBar[Number(timestep)] - value)).toBeLessThanOrEqual(1e-14 * Math.max(value, 1e-2));
    }
  });

  test("falls strictly to exactly zero", () => {
    const { alphaBar, finalAlphaBar } = schedule({});
    expect(alphaBar.every((value, i) => i === 0 || value < alphaBar[i - 1])).toBe(true);
    expect(alphaBarAt({ alphaBar, finalAlphaBar }, 999)).toBe(0);
    expect(alphaBarAt({ alphaBar, finalAlphaBar }, -1)).toBe(0);
    expect(finalAlphaBar).toBe(1);
  });
});

describe("fifty timesteps that are taken before they are rescaled", () => {
  const visited = samplingTimesteps({ ...parseSchedulerConfig(official, "test") }, 50);
  const roots = (shift: number, timesteps?: readonly number[]) =>
    noiseSchedule(
      parseSchedulerConfig({ ...official, snr_shift_scale: shift }, "test"),
      timesteps,
    ).alphaBar.map(Math.sqrt);

  // Computed with numpy from the formulas.
  test.each([
    [1, [0.9910822322570138, 0.8404413727504378, 0.00926799406834242, 0], 6.225e-4],
    [3, [0.9739398111132679, 0.6706101396188868, 0.005220288337620603, 0], 1.02e-3],
  ])(
    "have numpy's signal rates with shift %i, and differ most where they are cleanest",
    (shift, expected, most) => {
      const [subset, table] = [roots(shift, visited), roots(shift)];
      expect([19, 219, 979, 999].map((t) => subset[t])).toBeCloseToArray(expected, { atol: 1e-14 });
      const differences = visited.map((t) => Math.abs(subset[t] - table[t]));
      expect(Math.max(...differences)).toBeCloseTo(most, 6);
      expect(visited[differences.indexOf(Math.max(...differences))]).toBe(19);
    },
  );

  test("leave the cleanest of them as it was before, and the noisiest without signal", () => {
    const before = schedule({ rescale_betas_zero_snr: false }).alphaBar;
    const { alphaBar } = noiseSchedule(parseSchedulerConfig(official, "test"), visited);
    expect(alphaBar[19]).toBeCloseTo(before[19], 14);
    expect(alphaBar[999]).toBe(0);
  });
});

type Case = { config: { _class_name: string }; dtype: string; every9: string; final: number };

describe.each(readDiffusionFixture<Case[]>("schedules"))("the schedule of $config", (expected) => {
  const { alphaBar, finalAlphaBar } = noiseSchedule(parseSchedulerConfig(expected.config, "fixture"));
  const isFloat32 = expected.dtype === "float32";

  // Not bit for bit: square roots in the reference come from a library that may be wrong in the last bit.
  test("agrees with the reference", () => {
    const every9 = alphaBar.filter((_, i) => i % 9 === 0);
    const values = isFloat32 ? floats32(expected.every9) : floats64(expected.every9);
    expect(every9).toBeCloseToArray(values, isFloat32 ? { atol: 4e-7 } : { atol: 0, rtol: 1e-14 });
    expect(finalAlphaBar).toBeCloseTo(expected.final, 6);
  });
});

describe("reading a configuration", () => {
  test("fills in the defaults of each class", () => {
    expect(parseSchedulerConfig({ _class_name: "CogVideoXDPMScheduler" }, "f")).toEqual({
      className: "CogVideoXDPMScheduler",
      numTrainTimesteps: 1000,
      betaStart: 0.00085,
      betaEnd: 0.012,
      betaSchedule: "scaled_linear",
      trainedBetas: null,
      predictionType: "epsilon",
      timestepSpacing: "leading",
      stepsOffset: 0,
      setAlphaToOne: true,
      rescaleBetasZeroSnr: false,
      snrShiftScale: 3,
      clipSample: true,
      clipSampleRange: 1,
    });
    const generic = parseSchedulerConfig({ _class_name: "DDIMScheduler", snr_shift_scale: 3 }, "f");
    expect(generic).toMatchObject({
      betaStart: 0.0001,
      betaEnd: 0.02,
      betaSchedule: "linear",
      snrShiftScale: 1,
    });
  });

  test("names the file, the value and the known classes when the class is unknown", () => {
    expect(() => parseSchedulerConfig({ _class_name: "PNDMScheduler" }, "m/scheduler_config.json")).toThrow(
      new ConfigError(
        'm/scheduler_config.json: _class_name "PNDMScheduler" is not a scheduler this package knows; known are ' +
          "CogVideoXDDIMScheduler, CogVideoXDPMScheduler, DDIMScheduler, DDIMInverseScheduler",
      ),
    );
    expect(() => parseSchedulerConfig({}, "f")).toThrow("f: _class_name missing");
    expect(() => parseSchedulerConfig([1], "f")).toThrow(
      "f: a scheduler configuration must be a JSON object, got [1]",
    );
  });

  test.each([
    [{ beta_end: "0.02" }, 'f: beta_end is "0.02". Invalid input: expected number'],
    [{ timestep_spacing: "karras" }, 'f: timestep_spacing is "karras". Invalid option'],
    [
      { num_train_timesteps: 4, trained_betas: [0.1] },
      "trained_betas must have num_train_timesteps = 4 values, got 1",
    ],
    [{ trained_betas: [0.1, "x"] }, 'f: trained_betas.1 is "x"'],
  ])("refuses %j", (fields, message) => {
    expect(() => parseSchedulerConfig({ ...official, ...fields }, "f")).toThrow(message);
  });

  test("refuses thresholding where the class would apply it, and ignores unknown fields", () => {
    expect(() => parseSchedulerConfig({ _class_name: "DDIMScheduler", thresholding: true }, "f")).toThrow(
      ConfigError,
    );
    expect(parseSchedulerConfig({ ...official, _diffusers_version: "0.40.0", other: 1 }, "f").betaEnd).toBe(
      0.012,
    );
  });
});
