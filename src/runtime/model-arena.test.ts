/** @file Where blocks lie in the model of the engine's arena. */
import { expect, test } from "vitest";
import { ModelArena } from "./model-arena.ts";

const MiB = 1 << 20;

test("counts what blocks have covered, not the regions around them", () => {
  const arena = new ModelArena();
  arena.take(3 * MiB);
  expect(arena.touched).toBe(3 * MiB);
});

test("uses the place of a block that was given back", () => {
  const arena = new ModelArena();
  const place = arena.take(3 * MiB);
  arena.give(place);
  expect(arena.take(3 * MiB)).toBe(place);
  expect(arena.touched).toBe(3 * MiB);
});

test("wastes up to half of a place rather than cutting it", () => {
  const arena = new ModelArena();
  const [large] = [arena.take(4 * MiB), arena.take(4 * MiB)];
  arena.give(large);
  expect(arena.take(3 * MiB)).toBe(large);
  arena.take(MiB);
  expect(arena.touched).toBe(9 * MiB);
});

test("cuts a place that is twice as long, and joins its parts when both are free", () => {
  const arena = new ModelArena();
  const first = arena.take(8 * MiB);
  arena.give(first);
  const [a, b] = [arena.take(2 * MiB), arena.take(2 * MiB)];
  expect([a, b]).toEqual([first, first + 2 * MiB]);
  arena.give(b);
  arena.give(a);
  expect(arena.take(8 * MiB)).toBe(first);
});

test("refuses a block that it does not have", () => {
  expect(() => new ModelArena().give(0)).toThrow(/no block of the arena lies at 0/);
});
