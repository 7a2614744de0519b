/** @file Tests of names in messages. */
import { expect, test } from "vitest";
import { showNames } from "./file.ts";

test("six names are all said, and of more the first four", () => {
  expect(showNames([])).toBe("none");
  expect(showNames("abcdef")).toBe("a, b, c, d, e, f");
  expect(showNames(new Map(Array.from("abcdefghi", (name) => [name, 0])).keys())).toBe(
    "a, b, c, d and 5 more",
  );
});
