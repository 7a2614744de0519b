/** @file Counts and sizes as people read them. */
import { expect, test } from "vitest";
import { byteSize, count, duration } from "./numbers.ts";

test.each([
  [0, "0 B"],
  [1023, "1023 B"],
  [1024, "1.00 KiB"],
  [92_800, "90.6 KiB"],
  [300 * 2 ** 20, "300 MiB"],
  [9.51 * 2 ** 30, "9.51 GiB"],
  [5000 * 2 ** 40, "5000 TiB"],
])("writes %d bytes as %s", (bytes, text) => {
  expect(byteSize(bytes)).toBe(text);
});

test("puts the noun of a count into the plural but for one", () => {
  expect([0, 1, 1234].map((n) => count(n, "tensor"))).toEqual(["0 tensors", "1 tensor", "1,234 tensors"]);
});

test.each([
  [0.4213, "0.42 s"],
  [9.994, "9.99 s"],
  [12.34, "12.3 s"],
  [99.94, "99.9 s"],
  [100, "1 min 40 s"],
  [3599.4, "59 min 59 s"],
  [3599.6, "1 h 0 min"],
  [7199, "2 h 0 min"],
  [7500, "2 h 5 min"],
  [90_000, "25 h 0 min"],
])("%s seconds read as %s", (seconds, text) => {
  expect(duration(seconds)).toBe(text);
});
