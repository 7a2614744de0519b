/** @file LoRAs in a pipeline, against runs of the reference with PEFT (test/fixtures/lora/make.py). */
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryFolder } from "../../test/helpers/command-line.ts";
import { recorded } from "../../test/helpers/tiny-checkpoint.ts";
import { readFloats } from "../weights/read.ts";
import { readHeader } from "../weights/safetensors.ts";
import { writeSafetensors } from "../weights/write.ts";
import type { LoraRequest } from "./lora.ts";
import { loadPipeline } from "./pipeline.ts";
import { textToVideo } from "./text-to-video.ts";

const fixtures = "test/fixtures/lora";
const attention = join(fixtures, "attention");
const everything = join(fixtures, "everything", "pytorch_lora_weights.safetensors");

async function latentsWith(loras: readonly LoraRequest[], loraScale?: number): Promise<Float32Array> {
  const pipeline = await loadPipeline(recorded("t2v-rope"), { loras });
  const call = {
    prompt: "A red circle moves left, on a plain background.",
    frames: 9,
    height: 48,
    width: 64,
    steps: 2,
    guidance: 6,
    scheduler: "ddim" as const,
    seed: 7,
    latentsOnly: true,
    loraScale,
  };
  try {
    for await (const event of textToVideo(pipeline, call))
      if (event.kind === "latents") return event.latents.data as Float32Array;
    throw new Error("the run gave no latents");
  } finally {
    await pipeline.close();
  }
}

async function expected(name: string): Promise<Float32Array> {
  const { tensors } = await readHeader(join(fixtures, "expected.safetensors"));
  return readFloats(tensors.get(name)!);
}

test.each([
  ["none", []],
  ["attention", [{ file: attention }]],
  ["everything", [{ file: everything }]],
  [
    "both",
    [
      { file: attention, scale: 0.75 },
      { file: everything, scale: -0.5 },
    ],
  ],
] as const)("gives the latents of the reference with %s", async (name, loras) => {
  expect(await latentsWith(loras)).toBeCloseToArray(await expected(name), { atol: 1e-4 });
});

test("a call scales all LoRAs once more", async () => {
  const latents = await latentsWith([{ file: attention }], 0.5);
  expect(latents).toBeCloseToArray(await expected("attention-scaled"), { atol: 1e-4 });
});

test("the recipe of a clip names the LoRAs and how strongly they count", async () => {
  const pipeline = await loadPipeline(recorded("t2v-rope"), { loras: [{ file: attention, scale: 0.5 }] });
  try {
    for await (const event of textToVideo(pipeline, { prompt: "x", loraScale: 0.5 })) {
      expect(event).toMatchObject({ recipe: { loras: [{ file: attention, scale: 0.25 }] } });
      break;
    }
  } finally {
    await pipeline.close();
  }
});

test("a LoRA of another width is refused with the layer and both shapes", async () => {
  const file = join(temporaryFolder(), "lora.safetensors");
  const zeros = (shape: readonly number[]) => ({ dtype: "F32" as const, shape, data: new Float32Array(256) });
  await writeSafetensors(file, {
    "transformer.transformer_blocks.0.attn1.to_q.lora_A.weight": zeros([4, 64]),
    "transformer.transformer_blocks.0.attn1.to_q.lora_B.weight": zeros([64, 4]),
  });
  await expect(loadPipeline(recorded("t2v-rope"), { loras: [{ file }] })).rejects.toThrow(
    'the layer "transformer_blocks.0.attn1.to_q" has weights [48,48] here, and its matrices are [4,64] and [64,4]',
  );
});
