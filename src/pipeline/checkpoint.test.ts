/** @file Tests of folders that are no checkpoints. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { openCheckpoint } from "./checkpoint.ts";

test("the folder of a LoRA is refused with what it is for", async () => {
  const folder = mkdtempSync(join(tmpdir(), "checkpoint-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  await expect(openCheckpoint(folder)).rejects.toThrow(/give the folder that holds model_index\.json/);
  writeFileSync(join(folder, "pytorch_lora_weights.safetensors"), "");
  await expect(openCheckpoint(folder)).rejects.toThrow(
    /it holds a LoRA, which goes beside a checkpoint \(--lora\)/,
  );
});
