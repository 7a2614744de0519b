/** @file Random numbers against PyTorch, and the forward process against the reference. */
import { describe, expect, test } from "vitest";
import { floats32, readDiffusionFixture, sha256 } from "../../test/helpers/diffusion-fixture.ts";
import { hashInput } from "../../test/helpers/hash-fill.ts";
import { ConfigError, ShapeError } from "../errors.ts";
import { addNoise, createRng, drawNormals, restoreRng, saveRng, velocity } from "./noise.ts";
import { noiseSchedule, parseSchedulerConfig } from "./schedule.ts";

type Draw = { size: number; values: string };
const fixture = readDiffusionFixture<{
  cases: { seed: number; size: number; head: string; tail: string; sha256: string }[];
  sequence: { seed: number; draws: Draw[] };
  negative: { seed: number; values: string }[];
}>("noise");

describe.each(fixture.cases)("seed $seed, $size numbers", ({ seed, size, head, tail, sha256: expected }) => {
  const values = drawNormals(createRng(seed), size);

  test("are within 1e-6 of torch.randn", () => {
    expect(values.slice(0, 20)).toBeCloseToArray(floats32(head), { atol: 1e-6 });
    expect(values.slice(-20)).toBeCloseToArray(floats32(tail), { atol: 1e-6 });
  });

  test("are torch.randn bit for bit", () => {
    expect(sha256(values)).toBe(expected);
  });
});

describe("a generator", () => {
  test("starts seed 0 with the published numbers", () => {
    const expected = [
      -1.1258398, -1.1523602, -0.2505786, -0.4338788, 0.8487104, 0.6920092, -0.3160128, -2.1152194,
    ];
    expect(drawNormals(createRng(0), 16).slice(0, 8)).toBeCloseToArray(expected, { atol: 6e-7 });
  });

  test("keeps the second number of a pair for a later small draw, across a large one", () => {
    const rng = createRng(fixture.sequence.seed);
    for (const { size, values } of fixture.sequence.draws)
      expect(drawNormals(rng, size)).toEqual(floats32(values));
  });

  test("takes the low 32 bits of negative and of 64-bit seeds", () => {
    for (const { seed, values } of fixture.negative) {
      expect(drawNormals(createRng(seed), 16)).toEqual(floats32(values));
    }
    expect(drawNormals(createRng(2n ** 63n + 3n), 16)).toEqual(drawNormals(createRng(3), 16));
  });

  test("refuses a seed that is not an integer", () => {
    expect(() => createRng(1.5)).toThrow(
      new ConfigError("seed must be an integer (a bigint above 2^53), got 1.5"),
    );
    expect(() => createRng(2 ** 53)).toThrow(ConfigError);
  });

  test.each([3, 700])("continues from a saved state that went through JSON, after %i numbers", (before) => {
    const rng = createRng(9);
    drawNormals(rng, before);
    const saved = JSON.stringify(saveRng(rng));
    const expected = [drawNormals(rng, 5), drawNormals(rng, 1000), drawNormals(rng, 2)];
    const restored = restoreRng(JSON.parse(saved));
    expect([drawNormals(restored, 5), drawNormals(restored, 1000), drawNormals(restored, 2)]).toEqual(
      expected,
    );
    expect(JSON.stringify(saveRng(restoreRng(JSON.parse(saved))))).toBe(saved);
  });

  test("refuses a state that is not one", () => {
    expect(() => restoreRng({ words: [1, 2], position: 0, cachedNormal: null })).toThrow("got 2 words and 0");
  });
});

describe("the forward process", () => {
  const official = {
    _class_name: "CogVideoXDDIMScheduler",
    prediction_type: "v_prediction",
    rescale_betas_zero_snr: true,
    timestep_spacing: "trailing",
    snr_shift_scale: 1,
  };
  const schedule = noiseSchedule(parseSchedulerConfig(official, "test"));
  const original = hashInput([1, 2, 4, 2, 2], 1004);
  const noise = hashInput([1, 2, 4, 2, 2], 1005);

  test("agrees with the stored outputs at timestep 799", () => {
    const golden = readDiffusionFixture<Record<string, { data: number[] }>>("golden");
    expect(addNoise(schedule, original, noise, 799)).toBeCloseToArray(golden.S_addnoise_t799.data, {
      atol: 1e-6,
    });
    expect(velocity(schedule, original, noise, 799)).toBeCloseToArray(golden.S_velocity_t799.data, {
      atol: 1e-6,
    });
  });

  const cases =
    readDiffusionFixture<{ timestep: number; noisy: string; velocity: string }[]>("forward-process");
  // Not bit for bit: square roots in the reference come from a library that may be wrong in the last bit.
  test.each(cases)("agrees with the reference at timestep $timestep", (expected) => {
    const { timestep } = expected;
    expect(addNoise(schedule, original, noise, timestep)).toBeCloseToArray(floats32(expected.noisy), {
      atol: 3e-7,
    });
    expect(velocity(schedule, original, noise, timestep)).toBeCloseToArray(floats32(expected.velocity), {
      atol: 3e-7,
    });
  });

  test("leaves only noise at the last timestep", () => {
    expect(addNoise(schedule, original, noise, 999)).toEqual(noise);
  });

  test("refuses noise of another size and timesteps outside the schedule", () => {
    expect(() => addNoise(schedule, original, noise.slice(1), 1)).toThrow(ShapeError);
    expect(() => addNoise(schedule, original, noise, 1000)).toThrow(
      "timestep must be an integer in 0 to 999",
    );
  });
});
