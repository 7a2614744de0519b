/** @file What guidance leads away from: the negative prompt, or zeros, as SAT has it. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { recorded } from "../../test/helpers/tiny-checkpoint.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import { generateBatch } from "./batch.ts";
import type { GenerateOptions } from "./generate-options.ts";
import { loadPipeline, type Pipeline } from "./pipeline.ts";
import { textToVideo } from "./text-to-video.ts";

let pipeline: Pipeline;
beforeAll(async () => {
  pipeline = await loadPipeline(recorded("t2v-rope"));
});
afterAll(() => pipeline.close());

const prompt = "A red circle.";
const request = { prompt, steps: 2, seed: 3, latentsOnly: true } as const;

async function latentsOf(options: Partial<GenerateOptions>) {
  let recipe: Readonly<Record<string, unknown>> = {};
  let latents: Float32Array = new Float32Array(0);
  for await (const event of textToVideo(pipeline, { ...request, ...options })) {
    if (event.kind === "started") recipe = event.recipe;
    if (event.kind === "latents") latents = event.latents.data as Float32Array;
  }
  return { recipe, latents };
}

test("zeros are what states of zeros are, and not the empty prompt", async () => {
  const { maxTextLength, textDim } = pipeline.checkpoint.transformer.config;
  const shape = [maxTextLength, textDim];
  const states = (fill: number): HostTensor => ({
    dtype: "f32",
    shape,
    data: Float32Array.from({ length: shape[0] * shape[1] }, (_, i) => fill * Math.sin(i)),
  });
  const positive = states(0.1);
  const given = await latentsOf({ promptStates: { positive, negative: states(0) } });
  const zeros = await latentsOf({
    promptStates: { positive, negative: states(0.2) },
    unconditional: "zeros",
  });
  const empty = await latentsOf({ promptStates: { positive, negative: states(0.2) } });
  expect(zeros.latents).toEqual(given.latents);
  expect(zeros.latents).not.toEqual(empty.latents);
  expect([zeros.recipe.unconditional, empty.recipe.unconditional]).toEqual(["zeros", undefined]);
});

test("a clip is the same alone and in a batch, and without guidance nothing is led away from", async () => {
  const alone = await latentsOf({ unconditional: "zeros" });
  const both: Float32Array[] = [];
  for await (const event of generateBatch(pipeline, {
    ...request,
    prompt: [prompt, "x"],
    unconditional: "zeros",
  }))
    if (event.kind === "latents") both.push(event.latents.data as Float32Array);
  expect(both[0]).toEqual(alone.latents);
  expect(both[0]).not.toEqual((await latentsOf({})).latents);
  const unguided = await latentsOf({ unconditional: "zeros", guidance: 1 });
  expect(unguided.latents).toEqual((await latentsOf({ guidance: 1 })).latents);
});

test.each([
  [
    { unconditional: "zeros", negativePrompt: "ugly" },
    /has no negative prompt, got "ugly"; leave one of them out/,
  ],
  [{ unconditional: "none" }, /unconditional must be one of prompt, zeros, got none/],
] as [Partial<GenerateOptions>, RegExp][])("%j is refused", async (options, says) => {
  await expect(latentsOf(options)).rejects.toThrow(says);
});
