/** @file Explicit uniform sampling: one draw per interval, uniform for everybody, and steadier than independent draws. */
import { describe, expect, test } from "vitest";
import { ConfigError } from "../../errors.ts";
import { type TimestepSampling, trainingTimesteps } from "./timesteps.ts";

const single = { seed: 7, step: 0, rank: 0, world: 1, batch: 1, accumulation: 1 };

/** The draws of all ranks in one step. */
function globalDraws(sampling: Omit<TimestepSampling, "rank">): number[] {
  return Array.from({ length: sampling.world }, (_, rank) => [
    ...trainingTimesteps({ ...sampling, rank }),
  ]).flat();
}

function histogram(values: readonly number[], bins: number, timesteps = 1000): number[] {
  const counts = Array(bins).fill(0);
  for (const value of values) counts[Math.floor((value * bins) / timesteps)]++;
  return counts;
}

describe("explicit sampling", () => {
  test.each([
    { world: 1, batch: 8, accumulation: 1 },
    { world: 1, batch: 2, accumulation: 10 },
    { world: 4, batch: 5, accumulation: 2 },
  ])("draws once from every interval in every step: %o", (sizes) => {
    const draws = sizes.world * sizes.batch * sizes.accumulation;
    for (let step = 0; step < 50; step++)
      expect(histogram(globalDraws({ ...single, ...sizes, step }), draws)).toEqual(Array(draws).fill(1));
  });

  test("draws equally often from every one of fewer groups", () => {
    for (let step = 0; step < 20; step++) {
      const drawn = globalDraws({ ...single, world: 8, batch: 2, groups: 4, step });
      expect(histogram(drawn, 4)).toEqual([4, 4, 4, 4]);
    }
  });

  test("gives every draw of every rank every interval equally often", () => {
    const sizes = { ...single, world: 5, batch: 2, accumulation: 2 };
    for (let rank = 0; rank < 5; rank++) {
      const perSlot = Array.from({ length: 40 }, (_, step) => trainingTimesteps({ ...sizes, rank, step }));
      for (let i = 0; i < 4; i++) {
        const seen = histogram(
          perSlot.map((drawn) => drawn[i]),
          20,
        );
        expect(seen).toEqual(Array(20).fill(2));
      }
    }
  });

  test("reaches all 1000 timesteps equally often where the intervals do not divide them", () => {
    const drawn = Array.from({ length: 6000 }, (_, step) =>
      globalDraws({ ...single, world: 7, step }),
    ).flat();
    const counts = histogram(drawn, 1000);
    const expected = drawn.length / 1000;
    const chiSquare = counts.reduce((sum, n) => sum + (n - expected) ** 2 / expected, 0);
    expect(Math.min(...counts)).toBeGreaterThan(0);
    expect(chiSquare).toBeLessThan(1150); // 999 degrees of freedom: mean 999, standard deviation 45
  });

  test("is a function of its arguments, and of each of them", () => {
    const sizes = { ...single, batch: 16 };
    expect(trainingTimesteps(sizes)).toEqual(trainingTimesteps(sizes));
    for (const change of [{ seed: 8 }, { step: 1 }, { step: 2 ** 33 }])
      expect(trainingTimesteps({ ...sizes, ...change })).not.toEqual(trainingTimesteps(sizes));
  });

  test("makes the mean loss of a step at least ten times steadier at 40 draws", () => {
    const spread = (method: "explicit" | "independent") => {
      const means = Array.from({ length: 500 }, (_, step) => {
        const drawn = globalDraws({ ...single, batch: 40, step, method });
        return drawn.reduce((sum, t) => sum + paperProfile(t), 0) / drawn.length;
      });
      return standardDeviation(means);
    };
    expect(spread("independent") / spread("explicit")).toBeGreaterThan(10);
  });
});

test("independent sampling is uniform", () => {
  const drawn = Array.from({ length: 500 }, (_, step) =>
    globalDraws({ ...single, batch: 20, step, method: "independent" }),
  ).flat();
  const counts = histogram(drawn, 20);
  const chiSquare = counts.reduce((sum, n) => sum + (n - 500) ** 2 / 500, 0);
  expect(chiSquare).toBeLessThan(40); // 19 degrees of freedom
});

describe("sizes that do not fit are refused", () => {
  test.each([
    ["groups", { world: 48, groups: 40 }, "24 and 48 would"],
    ["more groups than draws", { batch: 4, groups: 9 }, "; 4 would"],
    ["a rank outside", { world: 2, rank: 2 }, "rank must be in 0 to 1 for a world of 2, got 2"],
    ["no batch", { batch: 0 }, "batch must be a whole number above 0, got 0"],
    ["half a step", { step: 0.5 }, "step must be a whole number from 0, got 0.5"],
  ] as const)("%s", (_, change, message) => {
    const draw = () => trainingTimesteps({ ...single, ...change });
    expect(draw).toThrow(ConfigError);
    expect(draw).toThrow(message);
  });
});

/** Validation loss by timestep of the CogVideoX paper (Table 9, without explicit sampling), linear in between. */
function paperProfile(t: number): number {
  const known = [0.222, 0.13, 0.119, 0.133, 0.161]; // at 100, 300, 500, 700, 900
  const at = Math.min(Math.max((t - 100) / 200, 0), 4);
  const left = Math.min(Math.floor(at), 3);
  return known[left] + (at - left) * (known[left + 1] - known[left]);
}

function standardDeviation(values: readonly number[]): number {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  return Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length);
}
