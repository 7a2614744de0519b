/** @file The tiny decoder against a model of its layout in PyTorch, and what it refuses. */
import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { temporaryFolder } from "../../test/helpers/command-line.ts";
import { copyCheckpoint, editTensors, recorded } from "../../test/helpers/tiny-checkpoint.ts";
import { WeightsError } from "../errors.ts";
import { sizeOf } from "../graph/shape.ts";
import { Engine } from "../runtime/engine.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import { readTensor } from "../weights/read.ts";
import { readHeader } from "../weights/safetensors.ts";
import { sliceFrames } from "./clip-layout.ts";
import { loadPipeline } from "./pipeline.ts";
import { withPreviews } from "./preview.ts";
import { textToVideo } from "./text-to-video.ts";
import { openTinyDecoder, TINY_FILE, TinyDecoder } from "./tiny-decoder.ts";
import { tinyLook } from "./tiny-preview.ts";

const fixture = (name: string) => join(process.cwd(), "test/fixtures/tiny-vae", name);
const weightsFile = fixture(TINY_FILE);

let engine: Engine;
beforeAll(() => {
  engine = new Engine();
});
afterAll(() => engine.close());

async function expected(name: string): Promise<HostTensor> {
  const stored = (await readHeader(fixture("expected.safetensors"))).tensors.get(name)!;
  return { dtype: "f32", shape: stored.shape, data: (await readTensor(stored)) as Float32Array };
}

async function decoded(latents: HostTensor): Promise<{ data: number[]; lengths: number[] }> {
  const decoder = new TinyDecoder(engine, await openTinyDecoder(weightsFile, ".", 8));
  const data: number[] = [];
  const lengths: number[] = [];
  for await (const { shape, data: part } of decoder.decodeStream(latents)) {
    lengths.push(shape[0]);
    for (const x of part as Float32Array) data.push((x + 1) / 2);
  }
  expect(decoder.framesOf(latents.shape[0])).toBe(lengths.reduce((sum, length) => sum + length));
  return { data, lengths };
}

test.each([
  ["odd", 3, [1, 4, 4]],
  ["even", 2, [4, 4]],
] as const)(
  "decodes an %s number of latent frames as PyTorch does, frame by frame",
  async (name, count, lengths) => {
    const latents = sliceFrames(await expected("latents"), 0, count);
    const made = await decoded(latents);
    expect(made.lengths).toEqual(lengths);
    const { data, shape } = await expected(name);
    expect(made.data).toHaveLength(sizeOf(shape));
    expect(made.data).toBeCloseToArray(data as Float32Array, { atol: 1e-5 });
  },
);

describe("weights are refused", () => {
  test.each<[string, Parameters<typeof editTensors>[1], RegExp]>([
    [
      "that lack a parameter",
      (all) => void delete all["decoder.4.conv.2.bias"],
      /missing.*decoder\.4\.conv\.2\.bias/,
    ],
    [
      "with one too many",
      (all) => {
        all["decoder.3.skip.weight"] = all["decoder.3.conv.2.weight"];
      },
      /unexpected.*decoder\.3\.skip\.weight/,
    ],
    [
      "of something else",
      (all) => void delete all["decoder.1.weight"],
      /no tiny video decoder: decoder\.1\.weight/,
    ],
  ])("%s", async (_, change, says) => {
    const file = join(temporaryFolder(), TINY_FILE);
    copyFileSync(weightsFile, file);
    await editTensors(file, change);
    const opening = openTinyDecoder(file, ".", 8);
    await expect(opening).rejects.toThrow(WeightsError);
    await expect(opening).rejects.toThrow(says);
  });

  test("for latents of another model", async () => {
    await expect(openTinyDecoder(weightsFile, ".", 16)).rejects.toThrow(
      /decodes latents of 8 channels, but those of this model have 16/,
    );
  });
});

test.each([
  ["t2v-rope", 9],
  ["t2v-patch-t", 9],
] as const)("a clip of %s has all its frames, and its recipe says who decoded it", async (name, frames) => {
  const folder = copyCheckpoint(name);
  copyFileSync(weightsFile, join(folder, TINY_FILE));
  const pipeline = await loadPipeline(folder, { decoder: "tiny" });
  const request = { prompt: "A red circle.", width: 64, height: 48, frames, steps: 1 };
  let [count, last] = [0, 0];
  try {
    for await (const event of textToVideo(pipeline, request)) {
      const source = { file: "tiny", sha256: expect.stringMatching(/^[0-9a-f]{64}$/) };
      if (event.kind === "started") expect(event.recipe.decoder).toEqual(source);
      if (event.kind !== "frames") continue;
      expect(event.start).toBe(count);
      expect(event.frames.shape.slice(1)).toEqual([48, 64, 3]);
      count += event.frames.shape[0];
      last = event.total;
    }
  } finally {
    await pipeline.close();
  }
  expect([count, last]).toEqual([frames, frames]);
});

test("a folder without such weights is refused before anything is computed", async () => {
  await expect(loadPipeline(recorded("t2v-rope"), { decoder: "tiny" })).rejects.toThrow(
    /taecvx\.safetensors/,
  );
});

test("a preview by it shows all frames at their size after every step", async () => {
  const pipeline = await loadPipeline(recorded("t2v-rope"));
  const request = { prompt: "A red circle.", width: 64, height: 48, frames: 9, steps: 2, latentsOnly: true };
  try {
    const events = withPreviews(textToVideo(pipeline, request), await tinyLook(pipeline, weightsFile));
    const shapes: (readonly number[])[] = [];
    for await (const event of events) if (event.kind === "preview") shapes.push(event.frames.shape);
    expect(shapes).toEqual(Array(2).fill([9, 48, 64, 3]));
  } finally {
    await pipeline.close();
  }
});
