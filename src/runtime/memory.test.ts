/** @file The process's memory, as far as a test can know it. */
import { expect, test } from "vitest";
import { readMemory, resetPeak, watchAnonymous } from "./memory.ts";

const MIB = 2 ** 20;

test("anonymous memory is a part of resident memory, and the peak is no less", () => {
  const { resident, anonymous, peak } = readMemory();
  expect(anonymous).toBeGreaterThan(10 * MIB);
  expect(anonymous).toBeLessThanOrEqual(resident);
  expect(peak).toBeGreaterThanOrEqual(resident);
});

test("the highest anonymous memory covers what was held and let go", () => {
  const before = readMemory().anonymous;
  const watch = watchAnonymous();
  const held = new Uint8Array(64 * MIB).fill(1);
  const highest = watch.stop();
  expect(held.at(-1)).toBe(1);
  expect(highest - before).toBeGreaterThan(32 * MIB);
});

test("a new measurement of the peak can always be asked for", () => {
  resetPeak();
  expect(readMemory().peak).toBeGreaterThan(0);
});
