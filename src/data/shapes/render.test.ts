/** @file Rendering: colours where the scene says, motion over the frames, any size. */
import { describe, expect, test } from "vitest";
import { renderScene } from "./render.ts";
import { poseAt, type Scene } from "./scene.ts";
import { colours, type Motion, tones } from "./vocabulary.ts";

const scene = (motion: Motion): Scene => ({
  objects: [
    {
      colour: "red",
      shape: "circle",
      motion,
      size: "large",
      x: 0.5,
      y: 0.5,
      radius: 0.2,
      travel: 0.4,
      turn: 0,
    },
  ],
  background: { tone: "black", pattern: "plain" },
  camera: "still",
});

const pixelAt = (clip: Uint8Array, side: number, frame: number, x: number, y: number) => [
  ...clip.subarray(((frame * side + y) * side + x) * 3).subarray(0, 3),
];

describe("a rendered clip", () => {
  test.each([16, 64, 96])("of %i pixels has the object at its pose in every frame", (side) => {
    const clip = renderScene(scene("right"), { width: side, height: side, frames: 5 });
    for (let frame = 0; frame < 5; frame++) {
      const { x, y } = poseAt(scene("right").objects[0], frame / 4);
      const pixel = pixelAt(clip, side, frame, Math.round(x * side - 0.5), Math.round(y * side));
      expect(pixel).toBeCloseToArray([...colours.red], { atol: 12, rtol: 0 });
      expect(pixelAt(clip, side, frame, 0, 0)).toEqual([...tones.black]);
    }
  });

  test("of a wide frame has the scene in its middle", () => {
    const clip = renderScene(scene("still"), { width: 96, height: 32, frames: 1 });
    const red = (x: number) => clip[(16 * 96 + x) * 3];
    expect(red(48)).toBeGreaterThan(200);
    expect(red(48 - 10)).toBe(16);
  });

  test("gives the same bytes again", () => {
    const size = { width: 32, height: 32, frames: 3 };
    expect(renderScene(scene("bounces"), size)).toEqual(renderScene(scene("bounces"), size));
  });

  test("refuses a clip without frames", () => {
    expect(() => renderScene(scene("up"), { width: 8, height: 8, frames: 0 })).toThrow("frames 0");
  });
});
