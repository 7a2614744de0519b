/** @file The rules that make prompts longer: they repeat, keep the words, and stay within the tokens. */
import { expect, test } from "vitest";
import { faultsOf } from "./checks.ts";
import { enhanceByRules } from "./rules.ts";

const tokens = (limit = 226) => ({ count: (text: string) => text.split(/\s+/).length + 1, limit });
const rules = (prompt: string, limit?: number) => enhanceByRules({ prompt }, tokens(limit));

test("a short prompt gets light, movement, camera and background behind its own words", () => {
  const enhanced = rules(" a fox  in the snow");
  expect(enhanced).toBe(
    "A fox in the snow. Soft natural light brings out colours and textures. The movement is smooth and continuous, " +
      "and small details move along with it. The camera holds a steady view with the subject in focus in the middle. " +
      "The background is calm and slightly out of focus.",
  );
  expect(rules(" a fox  in the snow")).toBe(enhanced);
  expect(faultsOf(enhanced, { tokens: tokens(), withImage: false })).toEqual([]);
});

test.each([
  ["A cat at night", /darkness/],
  ["A cat in a kitchen", /from the side/],
])("the light fits the place: %s", (prompt, expected) => {
  expect(rules(prompt)).toMatch(expected);
});

test("what the prompt speaks of is not said again", () => {
  const enhanced = rules(
    "A slow aerial shot of a sunlit coast, moving gently, a lighthouse in the distance!",
  );
  expect(enhanced).toBe("A slow aerial shot of a sunlit coast, moving gently, a lighthouse in the distance!");
});

test("a picture is not contradicted: only its movement is spoken of", () => {
  const enhanced = enhanceByRules({ prompt: "", image: "data:," }, tokens());
  expect(enhanced).toBe(
    "What the picture shows comes to life with a natural, gentle movement. The movement is smooth and continuous, and " +
      "small details move along with it. Everything stays one unbroken shot from the same viewpoint.",
  );
});

test("sentences stop where the tokens end, and a prompt that is too long stays as it is", () => {
  expect(rules("a fox in the snow", 17)).toBe(
    "A fox in the snow. Soft natural light brings out colours and textures.",
  );
  expect(rules("a fox in the snow", 4)).toBe("a fox in the snow");
});

test("long prompts, and those in other languages, stay as they are", () => {
  const long = "word ".repeat(60).trim();
  expect(rules(long)).toBe(long);
  expect(rules("雪地里的狐狸")).toBe("雪地里的狐狸");
});
