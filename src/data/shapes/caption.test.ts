/** @file Captions: reproducible, of a small vocabulary, the plain form common. */
import { describe, expect, test } from "vitest";
import { captionOf, captionVocabulary, captionWords } from "./caption.ts";
import { drawScene } from "./scene.ts";

const scenes = Array.from({ length: 3000 }, (_, index) =>
  drawScene({ seed: 11, index, split: "all", twoObjects: 0.4, camera: 0.4 }),
);
const captions = (length: "short" | "long") =>
  scenes.map((scene, index) => captionOf(scene, { seed: 11, index, length }));

describe("captions", () => {
  test("use exactly the words of the vocabulary", () => {
    const used = new Set([...captions("short"), ...captions("long")].flatMap(captionWords));
    expect([...used].sort()).toEqual(captionVocabulary());
    expect(used.size).toBeLessThan(250);
  });

  test("are a pure function of scene, seed and index", () => {
    expect(captions("short").slice(0, 20)).toEqual(captions("short").slice(0, 20));
    expect(captionOf(scenes[0], { seed: 11, index: 0 })).toBe(captions("short")[0]);
  });

  test("name colour, shape and every object, and a camera that moves", () => {
    for (const length of ["short", "long"] as const)
      captions(length).forEach((caption, i) => {
        for (const { colour, shape } of scenes[i].objects) expect(caption).toContain(`${colour} ${shape}`);
        if (scenes[i].camera !== "still") expect(caption).toContain("the camera".slice(1));
      });
  });

  test("are often the plainest form", () => {
    const plain = captions("short").filter((caption) =>
      /^an? \w+ \w+ (moves right|moves left|spins|grows)$/.test(caption),
    );
    expect(plain.length).toBeGreaterThan(150);
  });

  test("have 20 to 35 words when long", () => {
    for (const caption of captions("long")) {
      const words = caption.split(" ").length;
      expect(words).toBeGreaterThanOrEqual(20);
      expect(words).toBeLessThanOrEqual(35);
    }
  });
});
