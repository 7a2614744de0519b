/** @file The reader is right about rendered clips, also blurred and noisy ones, and sees nothing in noise. */
import { describe, expect, test } from "vitest";
import { blurred, faded, noise, noisy } from "../../../../test/helpers/spoiled-clips.ts";
import { renderScene, type ShapesClip } from "../render.ts";
import { drawScene } from "../scene.ts";
import { judge, type Verdict } from "./judge.ts";
import { readClip } from "./read.ts";

describe("the reader", () => {
  test("is right about colour, shape and motion of at least 99 % of 320 clips", () => {
    const rates = measure(320, { width: 64, height: 64, frames: 9 }, (rgb) => rgb);
    for (const trait of ["colour", "shape", "motion", "size", "background", "camera", "everything"] as const)
      expect(rates[trait], trait).toBeGreaterThanOrEqual(0.99);
  }, 120_000);

  test("is not disturbed by a blur and noise of 6/255", () => {
    const clip = { width: 64, height: 64, frames: 17 };
    const rates = measure(40, clip, (rgb) => noisy(blurred(rgb, clip), 6));
    for (const trait of ["colour", "shape", "motion", "size"] as const)
      expect(rates[trait], trait).toBeGreaterThanOrEqual(0.98);
    expect(rates.background).toBeGreaterThan(0.9);
  }, 120_000);

  test("sees objects that have lost a third of their colour", () => {
    const rates = measure(40, { width: 64, height: 64, frames: 9 }, (rgb) => faded(rgb, 0.67));
    expect(rates.everything).toBeGreaterThan(0.9);
  }, 60_000);

  test("reads wide clips of other sizes", () => {
    expect(measure(12, { width: 96, height: 48, frames: 9 }, (rgb) => rgb).everything).toBe(1);
  }, 60_000);

  test.each([
    ["noise", noise],
    ["grey noise", (rgb: Uint8Array) => noisy(rgb.fill(127), 50)],
  ])("sees nothing in %s", (_, spoil) => {
    expect(measure(12, { width: 64, height: 64, frames: 9 }, spoil)).toMatchObject({
      colour: 0,
      background: 0,
    });
  });

  test("is not right about a clip of another scene", () => {
    const clip = { width: 48, height: 48, frames: 9 };
    const draw = (index: number) => drawScene({ seed: 1, index, split: "all" });
    const right = Array.from({ length: 60 }, (_, i) =>
      judge(readClip(renderScene(draw(i), clip), clip), draw(i + 1)),
    );
    expect(right.filter(({ everything }) => everything).length).toBeLessThan(3);
    expect(right.filter(({ colour }) => colour).length).toBeLessThan(20);
  });

  test("refuses bytes of another size", () => {
    expect(() => readClip(new Uint8Array(5), { width: 2, height: 1, frames: 1 })).toThrow(
      "has 6 bytes; got 5",
    );
  });
});

/** The share of verdicts that are right, over scenes of all kinds. */
function measure(
  count: number,
  clip: ShapesClip,
  spoil: (rgb: Uint8Array) => Uint8Array,
): Record<keyof Verdict, number> {
  const right: Partial<Record<keyof Verdict, number>> = {};
  for (let index = 0; index < count; index++) {
    const scene = drawScene({ seed: 77, index, split: "all", twoObjects: 0.3, camera: 0.3 });
    const verdict = judge(readClip(spoil(renderScene(scene, clip)), clip), scene);
    for (const trait of Object.keys(verdict) as (keyof Verdict)[])
      right[trait] = (right[trait] ?? 0) + (verdict[trait] ? 1 : 0) / count;
  }
  return Object.fromEntries(
    Object.entries(right).map(([trait, share]) => [trait, Math.round(share * 1e6) / 1e6]),
  ) as Record<keyof Verdict, number>;
}
