/** @file Guidance weights and the guided sum against the reference. */
import { describe, expect, test } from "vitest";
import { floats32, readDiffusionFixture, sha256 } from "../../test/helpers/diffusion-fixture.ts";
import { hashInput } from "../../test/helpers/hash-fill.ts";
import { ShapeError } from "../errors.ts";
import { checkedGuidance, combineGuidance, guidanceWeight, isGuided, isGuidedAt } from "./guidance.ts";

const fixture = readDiffusionFixture<{
  scale: number;
  weights: [numSteps: number, timestep: number, weight: number][];
  combined: { weight: number; values: string };
}>("guidance");

describe("the dynamic weight", () => {
  const dynamic = { scale: 6, mode: "wave" } as const;
  const at = (numSteps: number, timestep: number) => ({ step: 0, numSteps, timestep });

  test("has the published values for 50 steps and scale 6", () => {
    const first = Array.from({ length: 12 }, (_, step) => 999 - 20 * step);
    const weights = [...first, 79, 59, 39, 19].map((t) => guidanceWeight(dynamic, at(50, t)));
    const expected = [
      2.291487, 2.543503, 6.974352, 6.420358, 2.788098, 4.271942, 1.037598, 4.1704, 1.617975, 6.983127,
      1.004789, 2.871981, 1.063552, 1.000001, 1.000004, 1.123398,
    ];
    expect(weights).toBeCloseToArray(expected, { atol: 1e-6 });
  });

  test("agrees with the reference over steps and timesteps", () => {
    const weights = fixture.weights.map(([n, t]) =>
      guidanceWeight({ ...dynamic, scale: fixture.scale }, at(n, t)),
    );
    expect(weights).toBeCloseToArray(
      fixture.weights.map(([, , weight]) => weight),
      { atol: 1e-9 },
    );
  });
});

test("the constant weight is the scale", () => {
  const place = { step: 3, numSteps: 50, timestep: 939 };
  expect(guidanceWeight({ scale: 6 }, place)).toBe(6);
  expect(guidanceWeight({ scale: 1.5, mode: "constant" }, place)).toBe(1.5);
});

test("the cosine weight rises from 1 towards 1 + scale with the share of the steps that is done", () => {
  const weights = Array.from({ length: 10 }, (_, step) =>
    guidanceWeight({ scale: 6, mode: "cosine" }, { step, numSteps: 10, timestep: 999 - 100 * step }),
  );
  // 1 + 3 (1 - cos(pi s^5)) for s = 0, 0.5 and 0.9
  expect([weights[0], weights[5], weights[9]]).toBeCloseToArray([1, 1.0144458, 4.8414071], { atol: 1e-6 });
  expect(weights).toEqual([...weights].sort((a, b) => a - b));
});

test("guidance is on above scale 1 only", () => {
  expect([1, 1.001, 0].map((scale) => isGuided({ scale, mode: "wave" }))).toEqual([false, true, false]);
});

test("an interval guides the steps whose start lies in it", () => {
  const guided = (interval: readonly [number, number], scale = 6) =>
    Array.from({ length: 10 }, (_, step) => isGuidedAt({ scale, interval }, { step, numSteps: 10 }))
      .map(Number)
      .join("");
  expect(guided([0, 1])).toBe("1111111111");
  expect(guided([0.2, 0.5])).toBe("0011100000");
  expect(guided([0.25, 1])).toBe("0001111111");
  expect(guided([0.2, 0.5], 1)).toBe("0000000000");
});

test.each([
  [{ scale: Number.NaN }, /guidance must be a number, got NaN/],
  [{ scale: 6, mode: "square" }, /mode must be one of constant, wave, cosine, got square/],
  [{ scale: 6, interval: [0.5, 0.5] }, /0 <= first < second <= 1, got 0.5 and 0.5/],
  [{ scale: 6, interval: [-0.1, 1] }, /got -0.1 and 1/],
  [{ scale: 6, rescale: 1.5 }, /rescale must be 0 to 1, got 1.5/],
  [{ scale: 6, projected: { eta: 2 } }, /eta of projected guidance must be 0 to 1, got 2/],
  [{ scale: 6, projected: { threshold: 0 } }, /threshold of projected guidance must be above 0, got 0/],
  [{ scale: 6, zeroStar: { zeroSteps: 0.5 } }, /whole number from 0, got 0.5/],
  [{ scale: 6, projected: {}, zeroStar: {} }, /exclude each other/],
] as [Parameters<typeof checkedGuidance>[0], RegExp][])("refuses %j", (guidance, says) => {
  expect(() => checkedGuidance(guidance)).toThrow(says);
});

describe("the guided sum", () => {
  const unconditional = hashInput([40], 1);
  const conditional = hashInput([40], 2);

  test("is the reference's bit for bit", () => {
    const { weight, values } = fixture.combined;
    expect(sha256(combineGuidance(unconditional, conditional, weight))).toBe(sha256(floats32(values)));
  });

  test("is the unconditional output at weight 0", () => {
    expect(combineGuidance(unconditional, conditional, 0)).toEqual(unconditional);
  });

  test("refuses outputs of different sizes", () => {
    expect(() => combineGuidance(unconditional, conditional.slice(1), 6)).toThrow(
      new ShapeError("unconditional has 40 elements, but must have 39 like conditional"),
    );
  });
});
