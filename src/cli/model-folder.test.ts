/** @file Tests of what --model names where it is no model of the hub. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { nanoFolder, nanoSiblings } from "../pipeline/nano.ts";
import { modelFolder } from "./model-folder.ts";

const context = {
  terminal: { isJson: false, say() {}, print() {}, emit() {}, progress() {} },
  signal: new AbortController().signal,
};

test("what comes along is found by its name, and without one by what is given beside the prompt", async () => {
  expect(await modelFolder({ model: "nano-i2v" }, context)).toBe(nanoSiblings.image);
  expect(await modelFolder({ model: "nano", image: "a.png" }, context)).toBe(nanoFolder);
  expect(await modelFolder({ image: "a.png" }, context)).toBe(nanoSiblings.image);
});

test("a folder is taken as it is named, and so is what has no form that means anything else", async () => {
  const folder = join(nanoFolder, "../nano-control");
  expect(await modelFolder({ model: folder }, context)).toBe(folder);
  expect(await modelFolder({ model: "a/b/c" }, context)).toBe("a/b/c");
});
