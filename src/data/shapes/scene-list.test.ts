/** @file Which of the scenes that are drawn a data set takes. */
import { expect, test } from "vitest";
import { drawScene } from "./scene.ts";
import { sceneList } from "./scene-list.ts";

const options = { seed: 3, split: "train", twoObjects: 0.3 } as const;
const first = <T>(count: number, at: (index: number) => T) => Array.from({ length: count }, (_, i) => at(i));

test("takes every scene unless told otherwise", () => {
  const listed = first(20, sceneList(options));
  expect(listed.map(({ drawn }) => drawn)).toEqual(first(20, (i) => i));
  expect(listed[7].scene).toEqual(drawScene({ ...options, index: 7 }));
});

test("takes the scenes of some sizes and tones, in the order of their draws", () => {
  const listed = first(20, sceneList({ ...options, sizes: ["large"], tones: ["dark blue", "beige"] }));
  const drawn = listed.map(({ drawn }) => drawn);
  expect(drawn).toEqual(drawn.toSorted((a, b) => a - b));
  for (const { scene, drawn } of listed) {
    expect(scene).toEqual(drawScene({ ...options, index: drawn }));
    expect(scene.objects.map(({ size }) => size)).not.toContain("small");
    expect(["dark blue", "beige"]).toContain(scene.background.tone);
  }
  const passed = first(drawn[19], (i) => i).filter((i) => !drawn.includes(i));
  for (const index of passed) {
    const { objects, background } = drawScene({ ...options, index });
    const fits = objects.every(({ size }) => size === "large") && /blue|beige/.test(background.tone);
    expect(fits).toBe(false);
  }
});
