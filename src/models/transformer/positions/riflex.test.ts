/** @file RIFLEx against the published numbers of CogVideoX, and what it is for: no time that looks like the first. */
import { describe, expect, test } from "vitest";
import { ConfigError } from "../../../errors.ts";
import { parseTransformerConfig } from "../config.ts";
import { positionsFor } from "./positions.ts";
import { intrinsicComponent, riflexFrequencies } from "./riflex.ts";
import { temporalFrequencies } from "./rope.ts";

const own = temporalFrequencies(64);

describe("the lowered frequency", () => {
  test("of the released models is the second, with a period of 20", () => {
    expect(intrinsicComponent(own, 13)).toBe(2);
    expect(intrinsicComponent(own, 11)).toBe(2); // 21 latent frames of CogVideoX 1.5, two by two
    expect((2 * Math.PI) / own[1]).toBeCloseTo(19.87, 2);
  });

  test("is 0.9 turns in the clip; the others stay", () => {
    const lowered = riflexFrequencies(own, { k: 2, frames: 25 });
    expect(lowered[1]).toBeCloseTo((0.9 * 2 * Math.PI) / 25, 7);
    expect([...lowered].map((f, j) => f === own[j])).toEqual([
      true,
      false,
      true,
      true,
      true,
      true,
      true,
      true,
    ]);
  });

  test("stays while its period covers the clip", () => {
    expect(riflexFrequencies(own, { k: 2, frames: 20 })).toBe(own);
    expect(riflexFrequencies(own, { k: 2, frames: 21 })).not.toEqual(own);
  });

  test.each([0, 9, 1.5])("%d is refused", (k) => {
    expect(() => riflexFrequencies(own, { k, frames: 30 })).toThrow(
      /temporal frequency 1 to 8 of this model/,
    );
  });
});

describe("positions of a clip twice as long as trained", () => {
  const config = (json: object) => parseTransformerConfig(json, "config.json");
  const rotary = config({ use_rotary_positional_embeddings: true });
  const size = { frames: 26, height: 2, width: 2 };

  test("do not come around to the first again in the intrinsic component", () => {
    const turnsOf = (riflex?: "auto") => {
      const { cos, sin } = positionsFor(rotary, size, 0, riflex).rotary!;
      return Array.from({ length: 26 }, (_, t) => Math.atan2(sin[t * 32 + 1], cos[t * 32 + 1]));
    };
    const nearestToFirst = (turns: number[]) => Math.min(...turns.slice(13).map(Math.abs));
    expect(nearestToFirst(turnsOf())).toBeLessThan(0.05);
    expect(nearestToFirst(turnsOf("auto"))).toBeGreaterThan(0.6);
  });

  test("are the plain ones for clips that the period covers", () => {
    const short = { ...size, frames: 13 };
    expect(positionsFor(rotary, short, 4, "auto")).toEqual(positionsFor(rotary, short, 4));
  });

  test("cannot be lowered where the model adds sines, or has no such frequency", () => {
    expect(() => positionsFor(config({}), size, 226, "auto")).toThrow(ConfigError);
    expect(() => positionsFor(config({}), size, 226, "auto")).toThrow(/adds sines to its tokens/);
    expect(() => positionsFor(rotary, size, 226, 9)).toThrow(/temporal frequency 1 to 8/);
  });
});
