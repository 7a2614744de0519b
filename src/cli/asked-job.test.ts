/** @file Tests of what is refused before a checkpoint is opened. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryFolder } from "../../test/helpers/command-line.ts";
import { ConfigError } from "../errors.ts";
import { askedJob, requireMakeable } from "./asked-job.ts";
import { generateTable } from "./generate-table.ts";
import { parseOptions } from "./options.ts";

function asked(prompt: string, ...args: string[]) {
  const { values } = parseOptions(args, generateTable, []);
  return requireMakeable({ values, prompts: [prompt], seeds: [1] });
}

test("nano wants a prompt, unless hidden states, latents or a picture take its place", async () => {
  await expect(asked(" ")).rejects.toThrow(/the prompt is empty; describe the video/);
  await expect(asked("", "--strength", "1")).rejects.toThrow(/the prompt is empty/);
  for (const instead of [
    ["--prompt-states", import.meta.filename],
    ["--steps", "0"],
    ["--image", import.meta.filename],
    // Another model may be one that sees pictures, and says itself what it needs.
    ["--model", "owner/name"],
  ])
    await expect(asked("", ...instead)).resolves.toBeUndefined();
});

test.each([
  ...["image", "video", "control", "start-image", "end-image", "invert"],
  ...["latents", "prompt-states", "lora", "decoder", "preview-decoder"],
])("a missing file of --%s is told before the model is opened or downloaded", async (name) => {
  for (const model of ["owner/name", "models/nano"]) {
    const call = asked("a", "--model", model, `--${name}`, "nowhere.png");
    await expect(call).rejects.toThrow(
      new ConfigError('there is no file or folder "nowhere.png"; check the path'),
    );
  }
});

test("of LoRAs the file is looked for without its scale, and the model's own decoder not at all", async () => {
  const there = import.meta.filename;
  await expect(asked("a", "--lora", `${there}:0.5`, "--decoder", "tiny")).resolves.toBeUndefined();
  await expect(asked("a", "--lora", there, "--lora", "nowhere:0.5")).rejects.toThrow(
    /folder "nowhere"; check/,
  );
});

test("prompts are lines of UTF-8, with or without a mark before them, and of nothing else", async () => {
  const file = join(temporaryFolder(), "prompts.txt");
  const { values } = parseOptions(["--prompts", file, "--seed", "1"], generateTable, []);
  const terminal = { isJson: false, say() {}, print() {}, emit() {}, progress() {} };
  const prompts = async (bytes: Buffer) => {
    await writeFile(file, bytes);
    return (await askedJob(values, [], { terminal })).prompts;
  };
  expect(await prompts(Buffer.from("\ufeffa cat\r\n\n  ein Hündchen\n"))).toEqual(["a cat", "ein Hündchen"]);
  await expect(prompts(Buffer.of(0xff, 0xfe, 0x61, 0))).rejects.toThrow(/prompts\.txt is no text in UTF-8/);
  await expect(prompts(Buffer.from(" \n"))).rejects.toThrow(/holds no prompt; write one a line/);
});
