/** @file Progress with an estimate, on a clock that the test turns. */
import { expect, test } from "vitest";
import { ByteCounter, type DownloadProgress } from "./download-events.ts";

test("the estimate follows the rate of the last quarter of a minute", () => {
  let seconds = 0;
  const events: DownloadProgress[] = [];
  const counter = new ByteCounter(
    100_000,
    (event) => events.push(event),
    () => seconds * 1000,
  );
  const at = (time: number, bytes: number) => {
    seconds = time;
    counter.add(bytes);
    return events.at(-1)!;
  };
  expect(at(0, 0)).toMatchObject({ done: 0, bytesPerSecond: null, secondsLeft: null });
  expect(at(1, 1000)).toMatchObject({ done: 1000, bytesPerSecond: 1000, secondsLeft: 99 });
  expect(at(10, 9000)).toMatchObject({ bytesPerSecond: 1000, secondsLeft: 90 });
  at(20, 40_000);
  expect(at(25, 20_000)).toMatchObject({ done: 70_000, bytesPerSecond: 4000, secondsLeft: 7.5 });
});

test("reports come a few times a second, and one always at the end", () => {
  let ms = 0;
  const events: DownloadProgress[] = [];
  const counter = new ByteCounter(
    1000,
    (event) => events.push(event),
    () => ms,
  );
  for (; ms < 1000; ms++) counter.add(1);
  expect(events.map(({ done }) => done)).toEqual([1, 201, 401, 601, 801, 1000]);
});

test("bytes that are dropped count backwards and give no rate", () => {
  let ms = 0;
  const events: DownloadProgress[] = [];
  const counter = new ByteCounter(
    1000,
    (event) => events.push(event),
    () => ms,
  );
  counter.add(500);
  ms = 1000;
  counter.add(-500);
  expect(events.at(-1)).toMatchObject({ done: 0, bytesPerSecond: null, secondsLeft: null });
});
