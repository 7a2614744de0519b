/** @file Timesteps against the reference for every number of steps. */
import { describe, expect, test } from "vitest";
import { readDiffusionFixture } from "../../test/helpers/diffusion-fixture.ts";
import { ConfigError } from "../errors.ts";
import { samplingTimesteps, type TimestepConfig, timestepsForStrength } from "./timesteps.ts";

const trailing: TimestepConfig = {
  className: "CogVideoXDDIMScheduler",
  numTrainTimesteps: 1000,
  timestepSpacing: "trailing",
  stepsOffset: 0,
};
const allSteps = Array.from({ length: 1000 }, (_, i) => i + 1);

describe("trailing timesteps", () => {
  test.each([
    [4, [999, 749, 499, 249]],
    [7, [999, 856, 713, 570, 428, 285, 142]],
    [10, [999, 899, 799, 699, 599, 499, 399, 299, 199, 99]],
  ])("of %i steps are the published ones", (numSteps, expected) => {
    expect(samplingTimesteps(trailing, numSteps)).toEqual(expected);
  });

  test.each([
    [20, [999, 949], 49],
    [30, [999, 966, 932, 899], 32],
    [50, [999, 979], 19],
  ])("of %i steps start and end as published", (numSteps, first, last) => {
    const timesteps = samplingTimesteps(trailing, numSteps);
    expect(timesteps.slice(0, first.length)).toEqual(first);
    expect(timesteps.at(-1)).toBe(last);
  });

  test("have the reference's extra -1 only with parity, for 62 numbers of steps", () => {
    const extra = allSteps.filter((n) => samplingTimesteps(trailing, n, { parity: true }).length === n + 1);
    expect(extra).toHaveLength(62);
    expect(extra.slice(0, 3)).toEqual([61, 103, 121]);
    for (const n of extra) expect(samplingTimesteps(trailing, n, { parity: true }).at(-1)).toBe(-1);
  });
});

describe("timesteps as SAT takes them", () => {
  const sat = { discretisation: "sat" } as const;

  test("of fifty steps are the trailing ones, of thirty steps others", () => {
    expect(samplingTimesteps(trailing, 50, sat)).toEqual(samplingTimesteps(trailing, 50));
    const thirty = samplingTimesteps(trailing, 30, sat);
    expect([...thirty.slice(0, 4), ...thirty.slice(-3)]).toEqual([999, 965, 932, 899, 99, 66, 33]);
  });

  test("are numpy's for every number of steps", () => {
    const digest = allSteps.reduce((sum, n) => {
      const timesteps = samplingTimesteps(trailing, n, sat);
      return (sum * 31 + timesteps.reduce((all, t, i) => all + ((i % 97) + 1) * t, 0)) % 1_000_000_007;
    }, 0);
    expect(digest).toBe(867260311);
  });
});

test("leading and linspace timesteps of ten steps are the published ones", () => {
  expect(samplingTimesteps({ ...trailing, timestepSpacing: "leading" }, 10)).toEqual([
    900, 800, 700, 600, 500, 400, 300, 200, 100, 0,
  ]);
  expect(samplingTimesteps({ ...trailing, timestepSpacing: "linspace" }, 10)).toEqual([
    999, 888, 777, 666, 555, 444, 333, 222, 111, 0,
  ]);
});

const { "offset 1, n 10": withOffset, ...reference } =
  readDiffusionFixture<Record<string, { sums: number[]; extra: number[][] }>>("timesteps");

test("leading timesteps are moved by steps_offset", () => {
  const config = { ...trailing, timestepSpacing: "leading", stepsOffset: 1 } as const;
  expect(samplingTimesteps(config, 10)).toEqual(withOffset);
});

describe.each(Object.entries(reference))("%s", (name, { sums, extra }) => {
  const [className, timestepSpacing] = name.split(" ");
  const config = { ...trailing, className, timestepSpacing } as TimestepConfig; // names that make_fixture.py wrote

  test("with parity equals the reference for every number of steps", () => {
    const timesteps = allSteps.map((n) => samplingTimesteps(config, n, { parity: true }));
    const weighted = timesteps.map((list) => list.reduce((sum, t, i) => sum + ((i % 97) + 1) * t, 0));
    expect(weighted).toEqual(sums);
    expect(
      allSteps.filter((n) => timesteps[n - 1].length !== n).map((n) => [n, timesteps[n - 1].length]),
    ).toEqual(extra);
  });

  test("gives n different timesteps in 0 to 999, in order, for every n", () => {
    const direction = className === "DDIMInverseScheduler" ? -1 : 1;
    const isRight = (n: number): boolean => {
      const list = samplingTimesteps(config, n);
      const isOrdered = list.every((t, i) => i === 0 || (list[i - 1] - t) * direction > 0);
      return list.length === n && isOrdered && Math.min(...list) >= 0 && Math.max(...list) <= 999;
    };
    expect(allSteps.filter((n) => !isRight(n))).toEqual([]);
  });
});

describe("wrong calls", () => {
  test.each([0, -1, 1001, 2.5, Number.NaN])("are refused: %d steps", (numSteps) => {
    expect(() => samplingTimesteps(trailing, numSteps)).toThrow(
      new ConfigError(`steps must be an integer in 1 to 1000, got ${numSteps}`),
    );
  });

  test("are refused: an offset past the last timestep, linspace with the inverse", () => {
    const offset = { ...trailing, timestepSpacing: "leading", stepsOffset: 1 } as const;
    expect(() => samplingTimesteps(offset, 1000)).toThrow("leads to timestep 1000, the last is 999");
    const inverse = { ...trailing, className: "DDIMInverseScheduler", timestepSpacing: "linspace" } as const;
    expect(() => samplingTimesteps(inverse, 10)).toThrow(ConfigError);
  });
});

describe("strength", () => {
  test("0.8 of 50 steps leaves 40, from timestep 799", () => {
    const kept = timestepsForStrength(samplingTimesteps(trailing, 50), 50, 0.8);
    expect(kept).toHaveLength(40);
    expect(kept[0]).toBe(799);
  });

  test("1 leaves all", () => {
    expect(timestepsForStrength([9, 6, 3], 3, 1)).toEqual([9, 6, 3]);
  });

  test("that is out of range or leaves nothing is refused", () => {
    expect(() => timestepsForStrength([9, 6, 3], 3, 1.1)).toThrow("strength must be in 0 to 1, got 1.1");
    expect(() => timestepsForStrength([9, 6, 3], 3, 0.3)).toThrow("leaves no step to do");
  });
});
