/** @file Masks for inpainting and what becomes of them in the latents. */
import { describe, expect, test } from "vitest";
import { drawMask, dropsCondition, type Mask, type MaskKind, maskOf } from "./mask-bank.ts";
import { knownLatents, maskedPixels } from "./mask-latents.ts";
import { rngFor } from "./random.ts";

const size = { frames: 9, height: 16, width: 24 };
const plane = 16 * 24;
const draw = (kind: MaskKind, seed: number) => maskOf(kind, size, rngFor(seed, "test"));
const frameSums = ({ data, frames }: Mask) =>
  Array.from({ length: frames }, (_, f) =>
    data.subarray((f * data.length) / frames, ((f + 1) * data.length) / frames).reduce((a, b) => a + b, 0),
  );
const seeds = Array.from({ length: 30 }, (_, i) => i);

describe("a mask of the kind", () => {
  test("everything covers every pixel", () => {
    expect(frameSums(draw("everything", 1))).toEqual(Array(9).fill(plane));
  });

  test("all but the first frames leaves one to four at the front", () => {
    const given = seeds.map(
      (seed) => frameSums(draw("all but the first frames", seed)).filter((n) => n === 0).length,
    );
    expect(new Set(given)).toEqual(new Set([1, 2, 3, 4]));
    expect(frameSums(draw("all but the first frames", 1)).toSorted((a, b) => a - b)).toEqual(
      frameSums(draw("all but the first frames", 1)),
    );
  });

  test("all but both ends leaves frames at both, and covers at least one", () => {
    for (const seed of seeds) {
      const sums = frameSums(draw("all but both ends", seed));
      expect([sums[0], sums[8]]).toEqual([0, 0]);
      expect(Math.max(...sums)).toBe(plane);
    }
  });

  test("box in all frames is one box", () => {
    for (const seed of seeds) {
      const mask = draw("box in all frames", seed);
      const sums = frameSums(mask);
      expect(new Set(sums).size).toBe(1);
      expect(sums[0]).toBeGreaterThanOrEqual(4 * 6);
      expect([...mask.data.subarray(0, plane)]).toEqual([...mask.data.subarray(8 * plane)]);
    }
  });

  test("box in some frames lasts a part of the clip", () => {
    const covered = seeds.map(
      (seed) => frameSums(draw("box in some frames", seed)).filter((n) => n > 0).length,
    );
    expect(Math.min(...covered)).toBeGreaterThanOrEqual(2);
    expect(new Set(covered).size).toBeGreaterThan(3);
  });

  test("random frames covers whole frames", () => {
    for (const sum of frameSums(draw("random frames", 3))) expect([0, plane]).toContain(sum);
  });

  test("ellipse in the first frame leaves the others alone", () => {
    const sums = seeds.map((seed) => frameSums(draw("ellipse in the first frame", seed)));
    expect(sums.every(([first, ...others]) => first < plane && others.every((n) => n === 0))).toBe(true);
    expect(sums.some(([first]) => first > 0)).toBe(true);
  });
});

describe("drawn masks", () => {
  const masks = Array.from({ length: 1000 }, (_, sample) => drawMask({ seed: 1, step: 2, sample }, size));
  const share = (kind: MaskKind) => masks.filter((mask) => mask.kind === kind).length / 1000;

  test("are of the kinds and in the shares of the bank", () => {
    expect(share("everything")).toBeCloseTo(0.2, 1);
    expect(share("all but both ends")).toBeCloseTo(0.2, 1);
    expect(share("circle in all frames")).toBeGreaterThan(0.03);
    expect(new Set(masks.map(({ kind }) => kind)).size).toBe(10);
  });

  test("are the same ones again", () => {
    expect(drawMask({ seed: 1, step: 2, sample: 7 }, size)).toEqual(masks[7]);
  });

  test("of images are of four kinds", () => {
    const kinds = Array.from(
      { length: 200 },
      (_, sample) => drawMask({ seed: 1, step: 0, sample }, { ...size, frames: 1 }).kind,
    );
    expect(new Set(kinds)).toEqual(
      new Set(["everything", "box in all frames", "random pixels", "circle in all frames"]),
    );
  });

  test("that cover everything mostly train without any condition, others never", () => {
    const place = (sample: number) => ({ seed: 1, step: 2, sample });
    const dropped = masks.map((mask, i) => dropsCondition(mask, place(i)));
    const whole = masks.filter(({ kind }) => kind === "everything").length;
    expect(dropped.filter(Boolean).length / whole).toBeCloseTo(0.9, 1);
    expect(masks.some(({ kind }, i) => dropped[i] && kind !== "everything")).toBe(false);
  });
});

describe("in the latents", () => {
  test("a given first frame is known, and the rest is not", () => {
    const data = new Uint8Array(9 * plane).fill(1, plane);
    const known = knownLatents({ kind: "everything", ...size, data });
    expect(known).toHaveLength(3 * 2 * 3);
    expect([...known]).toEqual([1, 1, 1, 1, 1, 1, ...Array(12).fill(0)]);
  });

  test("a latent looks at the two pixels and the two frames in its middle", () => {
    const data = new Uint8Array(9 * plane);
    data[3 * plane + 3 * 24 + 3] = 1; // third of frames 1 to 4, one of the eight in the middle of the first latent
    const known = knownLatents({ kind: "everything", ...size, data });
    expect(known[6]).toBeCloseTo(1 - 1 / 8, 6);
    expect(known.filter((value) => value !== 1)).toHaveLength(1);
  });

  test("an image has one latent frame", () => {
    const image = {
      kind: "everything" as const,
      frames: 1,
      height: 16,
      width: 24,
      data: new Uint8Array(plane),
    };
    expect([...knownLatents(image)]).toEqual(Array(6).fill(1));
  });

  test("covered pixels are black in all three channels", () => {
    const data = new Uint8Array(2 * 4).fill(1, 5, 6);
    const mask = { kind: "random pixels" as const, frames: 2, height: 2, width: 2, data };
    const pixels = maskedPixels(new Float32Array(24).fill(0.5), mask);
    expect([...pixels].flatMap((value, i) => (value === -1 ? [i] : []))).toEqual([13, 17, 21]);
  });
});
