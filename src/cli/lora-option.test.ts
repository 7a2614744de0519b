/** @file How LoRAs are named on the command line. */
import { expect, test } from "vitest";
import { parseLoras } from "./lora-option.ts";
import { parseOptions } from "./options.ts";

test.each([
  ["style.safetensors", "style.safetensors", 1],
  ["style.safetensors:0.5", "style.safetensors", 0.5],
  ["style.safetensors:-1", "style.safetensors", -1],
  ["a folder/style:1e-2", "a folder/style", 0.01],
  ["C:\\loras\\style", "C:\\loras\\style", 1],
  ["C:\\loras\\style:.25", "C:\\loras\\style", 0.25],
  ["run:7:best.safetensors", "run:7:best.safetensors", 1],
])("%s is the file %s with scale %d", (text, file, scale) => {
  expect(parseLoras([text])).toEqual([{ file, scale }]);
});

test("an option of texts may be given several times", () => {
  const table = { lora: { kind: "texts", about: "" } } as const;
  expect(parseOptions(["--lora", "a", "--lora=b:2"], table, []).values.lora).toEqual(["a", "b:2"]);
  expect(parseOptions([], table, []).values.lora).toBeUndefined();
});
