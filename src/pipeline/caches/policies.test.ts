/** @file The decisions of caches, which are numbers and need no model. */
import { describe, expect, test } from "vitest";
import { transformerConfigs } from "../../../test/helpers/released-models.ts";
import { parseTransformerConfig } from "../../models/transformer/config.ts";
import { type CacheOptions, policyOf } from "./caches.ts";
import { calibration, teaCacheCoefficients } from "./calibration.ts";
import { nearestRatios } from "./mag-cache.ts";
import type { CacheRun } from "./policy.ts";
import { taylorWeights } from "./taylor-seer.ts";
import { publishedCoefficients, teaCacheSkips } from "./tea-cache.ts";

const configOf = (name: keyof typeof transformerConfigs) =>
  parseTransformerConfig(transformerConfigs[name], "config.json");

const run: CacheRun = {
  config: configOf("5b"),
  timesteps: Array.from({ length: 50 }, (_, i) => 999 - 20 * i),
  isGuidedPair: true,
  conditioningChanges: [],
};

/** Whether each step reuses something, when everything is available and nothing has changed. */
function reuses(options: CacheOptions, change: number | null = 0): boolean[] {
  const policy = policyOf(options, run);
  let memory = policy.start;
  return run.timesteps.map((timestep, step) => {
    const decision = policy.decide(memory, { step, timestep, available: Math.min(step, 2), change });
    memory = decision.memory;
    return decision.reuse !== null;
  });
}

const count = (flags: readonly boolean[]) => flags.filter(Boolean).length;

describe("teacache", () => {
  test("adds up foretold changes until they reach the threshold, and computes both ends", () => {
    const line = { threshold: 0.25, coefficients: [1, 0] };
    const skips = teaCacheSkips([0, 0.1, 0.1, 0.1, 0.1, 0.3, 0.1, 0], line);
    expect(skips).toEqual([false, true, true, false, true, false, true, false]);
  });

  test("knows the polynomial of every released model", () => {
    const highest = (["2b", "5b", "5b-I2V", "1.5-5B", "1.5-5B-I2V", "Fun-5b"] as const).map(
      (name) => publishedCoefficients(configOf(name))[0],
    );
    expect(highest).toEqual([-31.0658903, -1538.80483, -1538.80483, 250.210439, 122.842302, -1538.80483]);
  });
});

test("calibration leaves nothing out, and learns what the two caches want to know", () => {
  const measuring = calibration({ kind: "calibration" }, { ...run, conditioningChanges: [0, 0.1, 0.2, 0.3] });
  let memory = measuring.start;
  for (const [step, growth] of [null, 0.9, 1.1, 1].entries()) {
    const decision = measuring.decide(memory, { step, timestep: 999, available: step, change: null });
    expect(decision.reuse).toBe(null);
    memory = measuring.learn!(decision.memory, growth);
    memory = measuring.observe!(memory, step === 0 ? null : step ** 2);
  }
  expect(memory.ratios).toEqual([1, 0.9, 1.1, 1]);
  expect(memory.changes).toEqual([0, 1, 4, 9]);
  // Three points at 0.1, 0.2, 0.3, without the first step, which follows none.
  expect(teaCacheCoefficients(memory)).toBeCloseToArray([0, 0, 100, 0, 0], { atol: 1e-9 });
});

test("dbcache warms up, and stops after as many steps in a row as it may", () => {
  expect(count(reuses({ kind: "dbcache" }))).toBe(42);
  expect(reuses({ kind: "dbcache", warmup: 2, most: 2 }).slice(0, 8)).toEqual(
    [0, 0, 1, 1, 0, 1, 1, 0].map(Boolean),
  );
  expect(count(reuses({ kind: "dbcache" }, 0.08))).toBe(0);
});

test("pab repeats every other attention in the middle of the run", () => {
  expect(count(reuses({ kind: "pab" }))).toBe(17);
});

describe("magcache", () => {
  test("computes the first fifth, and at least every fourth step then", () => {
    const flags = reuses({ kind: "magcache", ratios: Array(50).fill(1) });
    expect(flags.slice(0, 14)).toEqual([...Array(10).fill(false), true, true, true, false]);
    expect(count(flags)).toBe(30);
  });

  test("takes ratios of another number of steps at the nearest places", () => {
    expect(nearestRatios([1, 2, 3], 3)).toEqual([1, 2, 3]);
    expect(nearestRatios([1, 2, 3], 5)).toEqual([1, 1, 2, 3, 3]);
    expect(nearestRatios([1, 2, 3], 1)).toEqual([3]);
    expect(nearestRatios([1, 2, 3, 4, 5], 2)).toEqual([1, 5]);
  });
});

describe("taylorseer", () => {
  test("repeats a constant, extends a line, and a parabola with order 2 up to its discretisation", () => {
    expect(taylorWeights([4], 9)).toEqual([1]);
    const line = taylorWeights([4, 2], 7);
    expect(line[0] * 4 + line[1] * 2).toBeCloseTo(7, 12);
    expect(line[0] + line[1]).toBeCloseTo(1, 12);
    // F_0 = 9, F_1 = 9 - 4, F_2 = 5 - 3 for squares at 1, 2, 3; two steps on 9 + 2 F_1 + 2 F_2.
    const squares = taylorWeights([3, 2, 1], 5);
    expect(squares[0] * 9 + squares[1] * 4 + squares[2] * 1).toBeCloseTo(9 + 10 + 4, 12);
  });

  test("computes three steps, then every fifth", () => {
    const flags = reuses({ kind: "taylorseer" });
    expect(
      flags
        .map((reused, i) => (reused ? -1 : i))
        .filter((i) => i >= 0)
        .slice(0, 6),
    ).toEqual([0, 1, 2, 4, 9, 14]);
  });
});

test.each<[CacheOptions, string, Partial<CacheRun>?]>([
  [{ kind: "teacache", threshold: -1 }, "threshold of teacache must be a number from 0 on, got -1"],
  [{ kind: "pab", every: 0 }, "every of pab must be a whole number from 1 on, got 0"],
  [{ kind: "dbcache", front: 40, back: 2 }, "leaves none of the model's 42 blocks"],
  [{ kind: "fastercache" }, "needs guidance above 1", { isGuidedPair: false }],
  [{ kind: "magcache" }, "needs the ratios of magnitudes"],
  [{ kind: "magcache", ratios: [1, Number.NaN] }, "numbers above 0"],
  [{ kind: "taylorseer", part: "blocks" as "prediction" }, "must be prediction or attention"],
  [{ kind: "toString" } as unknown as CacheOptions, "cache must be one of"],
])("%o is refused", (options, message, changes = {}) => {
  expect(() => policyOf(options, { ...run, ...changes })).toThrow(message);
});
