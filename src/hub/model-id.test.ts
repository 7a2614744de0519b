/** @file Names of models. */
import { describe, expect, test } from "vitest";
import { ConfigError } from "../errors.ts";
import { licenceOf } from "./known-models.ts";
import { looksLikeModelId, parseModelId, showModelId } from "./model-id.ts";

describe("a name", () => {
  test.each([
    ["THUDM/CogVideoX-2b", undefined, { owner: "THUDM", name: "CogVideoX-2b", revision: "main" }],
    ["a/b@v1.0", undefined, { owner: "a", name: "b", revision: "v1.0" }],
    ["a/b@refs/pr/1", undefined, { owner: "a", name: "b", revision: "refs/pr/1" }],
    ["a/b", "dev", { owner: "a", name: "b", revision: "dev" }],
    ["a/b@dev", "dev", { owner: "a", name: "b", revision: "dev" }],
  ])("%s with %s is read", (text, revision, id) => {
    expect(parseModelId(text, revision)).toEqual(id);
    expect(looksLikeModelId(text)).toBe(true);
  });

  test.each([
    "",
    "a",
    "a/b/c",
    "/a",
    "a/",
    "../b",
    "./b",
    "a/..",
    "a b/c",
    "-a/b",
    "a/b.",
    "a/b--c",
    "~/b",
    "c:\\a/b",
  ])("%j is none", (text) => {
    expect(looksLikeModelId(text)).toBe(false);
    expect(() => parseModelId(text)).toThrow(ConfigError);
  });

  test.each(["a/b@", "a/b@../x", "a/b@x/../../y", "a/b@/x", "a/b@x y", `a/b@${"x".repeat(201)}`])(
    "%j has no revision that could be a path",
    (text) => expect(() => parseModelId(text)).toThrow(/is not a revision; give a branch, a tag or a commit/),
  );

  test("has one revision", () => {
    expect(() => parseModelId("a/b@v1", "v2")).toThrow(/names the revision v1 and the option v2; give one/);
    expect(showModelId(parseModelId("a/b@v1"))).toBe("a/b@v1");
    expect(showModelId(parseModelId("a/b"))).toBe("a/b");
  });
});

test("official models have a licence, under their old and their new owner", () => {
  expect(licenceOf(parseModelId("THUDM/CogVideoX-2b"))?.name).toBe("Apache License 2.0");
  expect(licenceOf(parseModelId("zai-org/cogvideox1.5-5b-i2v"))?.name).toBe("CogVideoX License");
  expect(licenceOf(parseModelId("alibaba-pai/CogVideoX-Fun-V1.1-5b-Control"))?.special).toBe(true);
  expect(licenceOf(parseModelId("someone/else"))).toBeNull();
});
