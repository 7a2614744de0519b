/** @file Guidance weights and the guided sum against the reference. */
import { describe, expect, test } from "vitest";
import { floats32, readDiffusionFixture, sha256 } from "../../test/helpers/diffusion-fixture.ts";
import { hashInput } from "../../test/helpers/hash-fill.ts";
import { ShapeError } from "../errors.ts";
import { combineGuidance, guidanceWeight, isGuided } from "./guidance.ts";

const fixture = readDiffusionFixture<{
  scale: number;
  weights: [numSteps: number, timestep: number, weight: number][];
  combined: { weight: number; values: string };
}>("guidance");

describe("the dynamic weight", () => {
  const dynamic = { scale: 6, dynamic: true };

  test("has the published values for 50 steps and scale 6", () => {
    const weights = [999, 979, 959, 939, 919, 899, 879, 859, 79, 59, 39, 19].map((t) =>
      guidanceWeight(dynamic, 50, t),
    );
    const expected = [
      2.291487, 2.543503, 6.974352, 6.420358, 2.788098, 4.271942, 1.037598, 4.1704, 1.063552, 1.000001,
      1.000004, 1.123398,
    ];
    expect(weights).toBeCloseToArray(expected, { atol: 1e-6 });
  });

  test("agrees with the reference over steps and timesteps", () => {
    const weights = fixture.weights.map(([n, t]) =>
      guidanceWeight({ ...dynamic, scale: fixture.scale }, n, t),
    );
    expect(weights).toBeCloseToArray(
      fixture.weights.map(([, , weight]) => weight),
      { atol: 1e-9 },
    );
  });
});

test("the constant weight is the scale", () => {
  expect(guidanceWeight({ scale: 6 }, 50, 999)).toBe(6);
  expect(guidanceWeight({ scale: 1.5, dynamic: false }, 50, 19)).toBe(1.5);
});

test("guidance is on above scale 1 only", () => {
  expect([1, 1.001, 0].map((scale) => isGuided({ scale, dynamic: true }))).toEqual([false, true, false]);
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
