/** @file The low band of waves that lie in it, outside it, and in between. */
import { expect, test } from "vitest";
import { lowPass } from "./low-pass.ts";

const [height, width] = [12, 15]; // frequencies up to 2 are low

/** A wave with these frequencies along y and x. */
function wave(ky: number, kx: number): Float32Array {
  return Float32Array.from({ length: height * width }, (_, i) => {
    const [y, x] = [Math.floor(i / width), i % width];
    return Math.cos(2 * Math.PI * ((ky * y) / height + (kx * x) / width) + 0.3);
  });
}

test.each([
  [0, 0],
  [0, 2],
  [2, 0],
  [1, 1],
  [1, -1],
])("keeps a wave of frequencies %d and %d", (ky, kx) => {
  expect(lowPass(wave(ky, kx), height, width)).toBeCloseToArray(wave(ky, kx), { atol: 1e-6 });
});

test.each([
  [0, 3],
  [3, 0],
  [2, 1],
  [-2, 1],
  [6, 7],
])("removes a wave of frequencies %d and %d", (ky, kx) => {
  expect(lowPass(wave(ky, kx), height, width)).toBeCloseToArray(new Float32Array(height * width), {
    atol: 1e-6,
  });
});

test("treats every plane for itself", () => {
  const both = Float32Array.from([...wave(1, 0), ...wave(5, 0)]);
  const low = lowPass(both, height, width);
  expect(low.subarray(0, height * width)).toBeCloseToArray(wave(1, 0), { atol: 1e-6 });
  expect(low.subarray(height * width)).toBeCloseToArray(new Float32Array(height * width), { atol: 1e-6 });
});
