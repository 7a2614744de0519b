/** @file Tests of what is refused before a checkpoint is opened. */
import { expect, test } from "vitest";
import { requireMakeable } from "./asked-job.ts";
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
    ["--prompt-states", "states.safetensors"],
    ["--steps", "0"],
    ["--image", import.meta.filename],
    // Another model may be one that sees pictures, and says itself what it needs.
    ["--model", "owner/name"],
  ])
    await expect(asked("", ...instead)).resolves.toBeUndefined();
});

test.each(["image", "video", "control", "start-image", "end-image", "invert"])(
  "a missing file of --%s is told before the model is downloaded",
  async (name) => {
    const call = asked("a", "--model", "owner/name", `--${name}`, "nowhere.png");
    await expect(call).rejects.toThrow('there is no file or folder "nowhere.png"; check the path');
  },
);
