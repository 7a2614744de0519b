/** @file Metrics against numbers worked out by hand and by PyTorch in double precision. */
import { describe, expect, test } from "vitest";
import { hashUniform } from "../../../test/helpers/hash-fill.ts";
import { latentStatistics } from "./latent-scale.ts";
import { type FrameStack, flicker, psnr, psnrPerFrame, reportReconstruction, ssim } from "./metrics.ts";

const bytes = (data: ArrayLike<number>, shape: FrameStack["shape"]): FrameStack => ({
  data,
  shape,
  layout: "interleaved",
  range: 255,
});

/** Two frames of noise in bytes, and the same darker with other noise on it. */
const shape = [2, 13, 16, 3] as const;
const noise = hashUniform(300, 1248).map((u) => Math.floor(u * 256));
const other = hashUniform(301, 1248);
const source = bytes(noise, shape);
const darker = bytes(
  noise.map((value, i) => Math.min(255, Math.floor(value * 0.6 + other[i] * 80))),
  shape,
);

describe("PSNR", () => {
  test("is 20 log₁₀(range / error) for an even error, whatever the range", () => {
    const grey = (value: number, range: number): FrameStack => ({
      data: Array(12).fill(value),
      shape: [1, 2, 2, 3],
      layout: "interleaved",
      range,
    });
    expect(psnr(grey(100, 255), grey(110, 255))).toBeCloseTo(20 * Math.log10(25.5), 12);
    expect(psnr(grey(0.2, 2), grey(0, 2))).toBeCloseTo(20, 12);
  });

  test("is the mean of the frames' values and not the value of the mean error", () => {
    const a = bytes([0, 0], [2, 1, 1, 1]);
    const b = bytes([255, 25.5], [2, 1, 1, 1]);
    expect(psnrPerFrame(a, b)).toEqual([0, 20]);
    expect(psnr(a, b)).toBe(10);
  });

  test("is infinite for equal frames", () => {
    expect(psnr(source, source)).toBe(Number.POSITIVE_INFINITY);
  });

  test("gives the stored value for noise", () => {
    expect(psnr(source, darker)).toBeCloseTo(16.25736539378446, 10);
  });
});

describe("SSIM", () => {
  test("gives the stored value for noise", () => {
    expect(ssim(source, darker)).toBeCloseTo(0.8132453283738257, 10);
  });

  test("is the same for the same frames in planes and over another range", () => {
    const scaled = ({ data }: FrameStack): FrameStack => {
      const planes = Array.from({ length: data.length }, (_, i) => {
        const [frame, rest] = [Math.floor(i / 624), i % 624];
        const [channel, pixel] = [Math.floor(rest / 208), rest % 208];
        return data[frame * 624 + pixel * 3 + channel] / 255;
      });
      return { data: planes, shape: [2, 3, 13, 16], layout: "planar", range: 1 };
    };
    expect(ssim(scaled(source), scaled(darker))).toBeCloseTo(0.8132453283738257, 10);
  });

  test("is 1 for equal frames, and (2ab + c₁) / (a² + b² + c₁) for even greys", () => {
    const grey = (value: number) => bytes(Array(363).fill(value), [1, 11, 11, 3]);
    const c1 = (0.01 * 255) ** 2;
    expect(ssim(source, source)).toBeCloseTo(1, 12);
    expect(ssim(grey(100), grey(150))).toBeCloseTo((30000 + c1) / (32500 + c1), 12);
  });

  test("refuses pictures below its window and stacks that differ", () => {
    const tiny = bytes(Array(300).fill(0), [1, 10, 10, 3]);
    expect(() => ssim(tiny, tiny)).toThrow(/at least 11 x 11 pixels, got 10 x 10/);
    expect(() => ssim(source, { ...source, range: 1 })).toThrow(/must agree .* over 255 and .* over 1/);
    expect(() => psnr(source, { ...source, data: [1] })).toThrow(/1248 values, got 1248 and 1/);
  });
});

describe("flicker", () => {
  test("is the mean change from frame to frame", () => {
    expect(flicker(bytes([0, 10, 4, 8, 4, 9], [3, 1, 2, 1]))).toBe((4 + 2 + 0 + 1) / 4);
  });

  test("is 0 for a single frame", () => {
    expect(flicker(bytes([1, 2, 3], [1, 1, 1, 3]))).toBe(0);
  });

  test("is reported beside that of the source", () => {
    const report = reportReconstruction(source, darker);
    expect(report.addedFlicker).toBe(flicker(darker) - flicker(source));
    expect(report.psnr).toBe(psnr(source, darker));
    expect(report.l1).toBeGreaterThan(0);
  });
});

test("the scale of latents is one over their deviation, however they are cut", () => {
  const { mean, deviation, scalingFactor } = latentStatistics([[1, 3], [5], [7]]);
  expect([mean, deviation]).toEqual([4, Math.sqrt(5)]);
  expect(scalingFactor).toBeCloseTo(1 / Math.sqrt(5), 12);
  expect(() => latentStatistics([[2, 2]])).toThrow(/at least two different values, got 2/);
});
