/** @file Random checkpoints: what they hold, and that they go away. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openWeights } from "../../weights/checkpoint.ts";
import { readFloats } from "../../weights/read.ts";
import type { Terminal } from "../terminal.ts";
import { transformer2b } from "./official-configs.ts";
import { withRandomCheckpoint } from "./random-checkpoint.ts";

const terminal: Terminal = { isJson: false, say() {}, print() {}, emit() {}, progress() {} };
const context = { terminal, signal: new AbortController().signal, cleanups: new Set<() => Promise<void>>() };
const models = {
  transformer: {
    ...transformer2b,
    num_attention_heads: 2,
    text_embed_dim: 64,
    time_embed_dim: 16,
    num_layers: 1,
  },
};

test("fills matrices from N(0, 0.02), scales of norms with 1 and biases with 0", async () => {
  await withRandomCheckpoint(models, context, async (folder) => {
    const { tensors } = await openWeights(join(folder, "transformer"));
    const values = (key: string) => readFloats(tensors.get(`transformer_blocks.0.${key}`)!);
    expect(new Set(await values("norm1.norm.weight"))).toEqual(new Set([1]));
    expect(new Set(await values("attn1.to_q.bias"))).toEqual(new Set([0]));
    const matrix = await values("ff.net.0.proj.weight");
    const mean = matrix.reduce((sum, x) => sum + x, 0) / matrix.length;
    const variance = matrix.reduce((sum, x) => sum + (x - mean) ** 2, 0) / matrix.length;
    expect(mean).toBeCloseTo(0, 3);
    expect(Math.sqrt(variance)).toBeCloseTo(0.02, 3);
    expect(new Set(matrix).size).toBeGreaterThan(1000);
  });
});

test("removes the folder when its user fails", async () => {
  let made = "";
  const failing = withRandomCheckpoint(models, context, async (folder) => {
    made = folder;
    throw new Error("failed on purpose");
  });
  await expect(failing).rejects.toThrow("failed on purpose");
  expect(made).not.toBe("");
  expect(existsSync(made)).toBe(false);
});

test("stops writing after the signal", async () => {
  const stopped = { terminal, signal: AbortSignal.abort(), cleanups: new Set<() => Promise<void>>() };
  await expect(withRandomCheckpoint(models, stopped, async () => {})).rejects.toThrow(
    "stopped while writing random weights",
  );
});
