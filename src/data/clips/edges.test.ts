/** @file Edges as control videos. */
import { expect, test } from "vitest";
import { edgesOf } from "./edges.ts";

const size = { width: 6, height: 4 };
const picture = (colour: (x: number, y: number) => readonly number[]) =>
  Uint8Array.from({ length: 24 }, (_, i) => i).reduce((rgb, i) => {
    rgb.set(colour(i % 6, Math.floor(i / 6)), 3 * i);
    return rgb;
  }, new Uint8Array(72));

test("a plain picture has no edges, also at its borders", () => {
  expect(edgesOf(new Uint8Array(72).fill(200), size)).toEqual(new Uint8Array(72));
});

test("a step from black to white is white on both sides of it, and black elsewhere", () => {
  const edges = edgesOf(
    picture((x) => (x < 3 ? [0, 0, 0] : [255, 255, 255])),
    size,
  );
  const row = Array.from({ length: 6 }, (_, x) => edges[3 * x]);
  expect(row).toEqual([0, 0, 255, 255, 0, 0]);
});

test("colours of one brightness have an edge between them, and edges have no colour", () => {
  const edges = edgesOf(
    picture((_, y) => (y < 2 ? [200, 0, 0] : [0, 0, 200])),
    size,
  );
  expect([...edges.subarray(18, 21)]).toEqual([200, 200, 200]);
});

test("frames do not see one another", () => {
  const clip = new Uint8Array(144).fill(255, 72);
  expect(edgesOf(clip, size)).toEqual(new Uint8Array(144));
});
