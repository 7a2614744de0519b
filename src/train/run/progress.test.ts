/** @file Tests of the pace of a run and of the line that tells it. */
import { expect, test } from "vitest";
import { durationText, Progress, stepLine } from "./progress.ts";

/** A run of 8000 steps of 3 clips whose steps took so many seconds. */
function progressAfter(durations: readonly number[], done = 0): Progress {
  const progress = new Progress(8000, { done, clipsPerStep: 3, now: 0 });
  let now = 0;
  for (const [i, seconds] of durations.entries()) {
    now += seconds * 1000;
    progress.note(done + i + 1, now);
  }
  return progress;
}

test("knows no pace before the first step", () => {
  expect(progressAfter([]).pace()).toBeNull();
  expect(stepLine({ step: 0, steps: 10, loss: 1 }, null)).toBe("step 0/10  loss 1.00");
});

test("gives the time per step, clips per second and the time left", () => {
  const pace = progressAfter(Array(200).fill(0.5), 1000).pace()!;
  expect(pace.secondsPerStep).toBeCloseTo(0.5);
  expect(pace.clipsPerSecond).toBeCloseTo(6);
  expect(pace.secondsLeft).toBeCloseTo(6800 * 0.5);
});

test("forgets slow steps of long ago", () => {
  const pace = progressAfter([...Array(50).fill(9), ...Array(100).fill(1)]).pace()!;
  expect(pace.secondsPerStep).toBeCloseTo(1);
});

test("is hardly moved by a machine that slept for an hour", () => {
  const pace = progressAfter([...Array(60).fill(1), 3600, ...Array(39).fill(1)]).pace()!;
  expect(pace.secondsPerStep).toBeLessThan(1.05);
});

test("counts steps that are noted together", () => {
  const progress = new Progress(100, { now: 0 });
  progress.note(10, 20_000);
  progress.note(10, 99_000);
  expect(progress.pace()).toMatchObject({ secondsPerStep: 2, secondsLeft: 180 });
});

test("tells a line", () => {
  const pace = progressAfter(Array(1200).fill(3 / 21.3)).pace();
  const facts = { step: 1200, steps: 8000, loss: 0.1234, gradientNorm: 0.45, rate: 3e-4, share: 0.411 };
  expect(stepLine(facts, pace)).toBe(
    "step 1200/8000  loss 0.123  grad 0.450  lr 3.0e-4  21.3 clips/s  41 % of measured peak  16 min left",
  );
  expect(stepLine({ step: 1200, steps: 8000, loss: Number.NaN }, pace)).toBe(
    "step 1200/8000  loss NaN  21.3 clips/s  16 min left",
  );
});

test.each([
  [0, "0 s"],
  [89, "89 s"],
  [90, "2 min"],
  [3599, "1 h 00 min"],
  [3 * 3600 + 300, "3 h 05 min"],
  [55 * 3600, "2 d 7 h"],
  [Number.POSITIVE_INFINITY, "unknown time"],
])("calls %d seconds %s", (seconds, text) => {
  expect(durationText(seconds)).toBe(text);
});
