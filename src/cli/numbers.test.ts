/** @file Counts and sizes as people read them. */
import { expect, test } from "vitest";
import { byteSize, count } from "./numbers.ts";

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
